import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { AegisError, reasonOf } from "../errors.js";
import type { Logger } from "../log.js";
import type {
  Agent,
  Approval,
  ApprovalContext,
  ApprovalFilter,
  Backend,
  DecisionOptions,
  EventListener,
  GatewayInfo,
  Grant,
  Intent,
  KillReceipt,
  LedgerRecord,
  NewToken,
  Note,
  Outcome,
  PinnedTool,
  Principal,
  RecordFilter,
  Sighted,
  Sighting,
  Token,
  ToolFilter,
  Verdict,
  VerifyReport,
} from "./backend.js";
import { Listeners } from "./listeners.js";
import type { Remote } from "./remote.js";

/** Milliseconds between two tries to reach it. */
const AGAIN = 500;

export interface LateOptions {
  /** The address without its secret. */
  readonly shown: string;
  /** Finds it, and refuses one that cannot be used. @throws AegisError */
  readonly open: () => Promise<Remote>;
  /** Told when it is found, before anything is asked of it. */
  readonly found: (remote: Remote) => void;
  readonly log: Logger;
}

/**
 * The backend of a gateway, which may not be there yet: an IDE starts its gateways at login, and neither waits for the
 * other. Until it is found every call is refused with the reason; from then on this only passes on. It is never replaced
 * by another.
 */
export class LateBackend implements Backend {
  private inner: Backend | null = null;
  private reason: string;
  private readonly listeners: Listeners;
  private readonly over = new AbortController();
  private looking: Promise<void> | null = null;
  private attached: { readonly info: GatewayInfo; readonly renamed: (id: string) => void } | null = null;
  /** Agents that are to exist, and which it was not told of yet. */
  private readonly unsure = new Set<string>();
  /** The id of the gateway until the backend has given one: a call that carries it was never decided. */
  private readonly provisional = `late${randomBytes(6).toString("hex")}`;

  private constructor(private readonly options: LateOptions) {
    this.reason = `The backend at ${options.shown} has not been reached yet.`;
    this.listeners = new Listeners(options.log);
  }

  /**
   * Looks for it once, and goes on looking where it is not there.
   *
   * @throws AegisError where it is there and cannot be used
   */
  static async open(options: LateOptions): Promise<LateBackend> {
    const late = new LateBackend(options);
    try {
      await late.find();
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
      late.missing(thrown);
    }
    return late;
  }

  /** Why there is none; null once it was found. */
  get absence(): string | null {
    return this.inner === null ? this.reason : null;
  }

  get description(): string {
    return this.inner?.description ?? `${this.options.shown}, not reached yet`;
  }

  async attach(info: GatewayInfo, renamed: (id: string) => void = () => {}): Promise<string> {
    this.attached = { info, renamed };
    if (this.inner === null) return this.provisional;
    try {
      return await this.inner.attach(info, renamed);
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
      await this.inner.close();
      this.inner = null;
      this.missing(thrown);
      return this.provisional;
    }
  }

  async ensureAgent(name: string): Promise<void> {
    try {
      await this.inner?.ensureAgent(name);
      if (this.inner === null) this.unsure.add(name);
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
      this.unsure.add(name);
    }
  }

  async decide(intent: Intent): Promise<Verdict> {
    const inner = this.there();
    if (intent.gateway === this.provisional)
      throw new AegisError("backend_unavailable", "The backend was reached just now. Repeat the call.");
    if (this.unsure.has(intent.agent)) {
      await inner.ensureAgent(intent.agent);
      this.unsure.delete(intent.agent);
    }
    return inner.decide(intent);
  }

  async release(intent: Intent, approval: number | null): Promise<Verdict> {
    return this.there().release(intent, approval);
  }

  async detachWaiter(approval: number, call: string): Promise<void> {
    await this.there().detachWaiter(approval, call);
  }

  async answerInClient(approval: number, call: string): Promise<void> {
    await this.there().answerInClient(approval, call);
  }

  outcome(outcome: Outcome): void {
    // Before it was found no call was decided, so none has an outcome.
    this.inner?.outcome(outcome);
  }

  async note(note: Note): Promise<void> {
    await this.there().note(note);
  }

  subscribe(listener: EventListener): () => void {
    return this.listeners.subscribe(listener);
  }

  async authenticate(token: string): Promise<Principal | null> {
    return this.there().authenticate(token);
  }

  /** None while it was not found: what is known of them then comes as events. */
  async agents(): Promise<readonly Agent[]> {
    try {
      return (await this.inner?.agents()) ?? [];
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
      return [];
    }
  }

  async kill(agent: string, by: Principal, reason: string): Promise<KillReceipt> {
    return this.there().kill(agent, by, reason);
  }

  async revive(agent: string, by: Principal, reason: string): Promise<void> {
    await this.there().revive(agent, by, reason);
  }

  async gateways(): Promise<
    ReadonlyArray<GatewayInfo & { readonly id: string; readonly startedAt: string }>
  > {
    return this.there().gateways();
  }

  async approvals(filter: ApprovalFilter): Promise<readonly Approval[]> {
    return this.there().approvals(filter);
  }

  async approval(id: number): Promise<Approval> {
    return this.there().approval(id);
  }

  async decideApproval(
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    reason: string,
    options?: DecisionOptions,
  ): Promise<Approval> {
    return this.there().decideApproval(id, verdict, by, reason, options);
  }

  async sight(sighting: Sighting): Promise<Sighted> {
    return this.there().sight(sighting);
  }

  async approvalContext(id: number): Promise<ApprovalContext> {
    return this.there().approvalContext(id);
  }

  async grants(all: boolean): Promise<readonly Grant[]> {
    return this.there().grants(all);
  }

  async revokeGrant(id: number, by: Principal, reason: string): Promise<void> {
    await this.there().revokeGrant(id, by, reason);
  }

  async pinnedTools(filter: ToolFilter): Promise<readonly PinnedTool[]> {
    return this.there().pinnedTools(filter);
  }

  async acceptTools(
    filter: ToolFilter,
    definitions: readonly string[],
    by: Principal,
  ): Promise<readonly PinnedTool[]> {
    return this.there().acceptTools(filter, definitions, by);
  }

  async records(filter: RecordFilter): Promise<readonly LedgerRecord[]> {
    return this.there().records(filter);
  }

  async verify(): Promise<VerifyReport> {
    return this.there().verify();
  }

  async createToken(
    token: NewToken,
    by: Principal,
  ): Promise<{ readonly id: number; readonly token: string }> {
    return this.there().createToken(token, by);
  }

  async tokens(): Promise<readonly Token[]> {
    return this.there().tokens();
  }

  async revokeToken(id: number, by: Principal): Promise<void> {
    await this.there().revokeToken(id, by);
  }

  async close(): Promise<void> {
    this.over.abort();
    await this.looking;
    await this.inner?.close();
  }

  private there(): Backend {
    if (this.inner !== null) return this.inner;
    throw new AegisError("backend_unavailable", this.reason, {
      hint: "It is looked for all the time; calls are decided again as soon as it is there.",
    });
  }

  private missing(thrown: unknown): void {
    this.reason = reasonOf(thrown);
    this.looking ??= this.look();
  }

  private async look(): Promise<void> {
    const { log } = this.options;
    const { signal } = this.over;
    while (this.inner === null && !signal.aborted) {
      await sleep(AGAIN, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      try {
        await this.find();
        log.warn({ backend: this.description }, "the backend was reached: calls are decided");
      } catch (thrown) {
        const reason = reasonOf(thrown);
        if (reason !== this.reason) log.error({ reason }, "the backend cannot be used");
        this.reason = reason;
      }
    }
    this.looking = null;
  }

  /** Finds it, and tells it what was said before it was there. */
  private async find(): Promise<void> {
    const remote = await this.options.open();
    const { backend, principal } = remote;
    try {
      backend.subscribe(async (event) => {
        if (!(await this.listeners.tell(event))) throw new Error("a listener failed");
      });
      this.options.found(remote);
      const id =
        this.attached === null ? null : await backend.attach(this.attached.info, this.attached.renamed);
      // A token that is bound to an agent speaks for no other, whatever was thought before it could be asked.
      const agents = this.unsure.size > 0 && principal?.agent ? [principal.agent] : [...this.unsure];
      for (const agent of agents) await backend.ensureAgent(agent);
      this.unsure.clear();
      if (id !== null) this.attached?.renamed(id);
      this.inner = backend;
    } catch (thrown) {
      await backend.close();
      throw thrown;
    }
  }
}

function isAway(thrown: unknown): boolean {
  return thrown instanceof AegisError && thrown.code === "backend_unavailable";
}
