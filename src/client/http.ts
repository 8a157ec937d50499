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
import { Api } from "./http-api.js";
import { Credentials } from "./http-credentials.js";
import { Decisions } from "./http-decisions.js";
import { Enlistment } from "./http-gateway.js";
import { approvalsOf, recordsOf } from "./http-pages.js";
import { KnownState } from "./http-state.js";
import { Listeners } from "./listeners.js";
import { Outbox } from "./outbox.js";
import { NoAnswer, PATIENCE, type Requests } from "./requests.js";
import { agentFromWire, agentsAnswer, killAnswer } from "./wire/agents.js";
import { approvalFromWire, approvalWire, contextFromWire, contextWire } from "./wire/approvals.js";
import { nothingWire } from "./wire/fields.js";
import { gatewayFromWire, gatewaysAnswer } from "./wire/gateways.js";
import { grantFromWire, grantsAnswer } from "./wire/grants.js";
import { verifyAnswer } from "./wire/ledger.js";
import { noteToWire } from "./wire/outcomes.js";
import { principalFromWire, principalWire } from "./wire/principals.js";
import { newTokenAnswer, newTokenToWire, tokenFromWire, tokensAnswer } from "./wire/tokens.js";
import { longestPinned, pinnedAnswer, pinnedFromWire, sightedAnswer, sightingToWire } from "./wire/tools.js";

/** Milliseconds: the whole ledger is read there. */
const VERIFICATION = 10 * 60_000;

interface Detachment {
  readonly approval: number;
  readonly call: string;
}

/**
 * An `aegis backend` somewhere else, over its `/v1`. Every question has a deadline, and every error refuses: what is not
 * exactly an answer is none. Who acts is whom the credential stands for: a `by` that is given here says nothing there.
 */
export class HttpBackend implements Backend {
  readonly description: string;
  private readonly listeners: Listeners;
  private readonly decisions: Decisions;
  private readonly state: KnownState;
  private readonly credentials: Credentials;
  private readonly detachments: Outbox<Detachment>;
  private enlistment: Enlistment | null = null;
  private closed: Promise<void> | null = null;

  private constructor(
    private readonly api: Api,
    version: string,
    /** Whom the credential stands for. */
    readonly principal: Principal,
    private readonly log: Logger,
  ) {
    this.description = `aegis ${version} at ${api.shown}`;
    this.listeners = new Listeners(log);
    this.decisions = new Decisions(api, principal, (id) => this.enlistment?.forget(id), log);
    this.state = new KnownState(api, this.listeners, () => this.decisions.held.values());
    this.credentials = new Credentials(api);
    this.detachments = new Outbox<Detachment>("callers that are gone", 1, (batch) => this.detach(batch), log);
  }

  /**
   * Asks whom the credential stands for.
   *
   * @param requests closed with this backend
   * @throws AegisError `not_permitted`, `backend_unavailable`
   */
  static async open(requests: Requests, version: string, log: Logger): Promise<HttpBackend> {
    const api = new Api(requests);
    const principal = principalFromWire(await api.get("/v1/whoami", principalWire));
    return new HttpBackend(api, version, principal, log);
  }

  async attach(info: GatewayInfo, renamed: (id: string) => void = () => {}): Promise<string> {
    const enlistment = new Enlistment(
      {
        api: this.api,
        log: this.log,
        listeners: this.listeners,
        state: this.state,
        mark: () => this.decisions.open.mark(),
        onToken: () => this.credentials.forget(),
      },
      info,
      renamed,
    );
    const id = await enlistment.begin();
    this.enlistment = enlistment;
    return id;
  }

  async ensureAgent(name: string): Promise<void> {
    await this.state.ensure(name);
  }

  decide(intent: Intent): Promise<Verdict> {
    return this.decisions.decide(intent);
  }

  release(intent: Intent, approval: number | null): Promise<Verdict> {
    return this.decisions.release(intent, approval);
  }

  /** At once where the backend answers, so that a repeat right behind finds the approval; else once it does again. */
  async detachWaiter(approval: number, call: string): Promise<void> {
    this.decisions.held.delete(call);
    const one = { approval, call };
    try {
      await this.detach([one]);
    } catch (thrown) {
      if (!(thrown instanceof NoAnswer)) throw thrown;
      this.detachments.push(one);
    }
  }

  async answerInClient(approval: number, call: string): Promise<void> {
    await this.api.post(`/v1/approvals/${approval}/answer`, { call }, nothingWire);
  }

  outcome(outcome: Outcome): void {
    this.decisions.outcome(outcome);
  }

  async note(note: Note): Promise<void> {
    const principal = this.principal.agent === null ? note.principal : undefined;
    await this.api.post("/v1/notes", noteToWire(note, principal), nothingWire);
  }

  subscribe(listener: EventListener): () => void {
    return this.listeners.subscribe(listener);
  }

  authenticate(token: string): Promise<Principal | null> {
    return this.credentials.authenticate(token);
  }

  /** A credential of role agent sees the agents it speaks for here. */
  async agents(): Promise<readonly Agent[]> {
    if (this.principal.role === "agent") return this.state.ensureAll();
    const { agents } = await this.api.get("/v1/agents", agentsAnswer, { deadline: PATIENCE });
    return agents.map(agentFromWire);
  }

  kill(agent: string, _by: Principal, reason: string): Promise<KillReceipt> {
    return this.api.post("/v1/kill", { agent, reason }, killAnswer, { deadline: PATIENCE });
  }

  async revive(agent: string, _by: Principal, reason: string): Promise<void> {
    await this.api.post("/v1/revive", { agent, reason }, nothingWire, { deadline: PATIENCE });
  }

  async gateways(): Promise<
    ReadonlyArray<GatewayInfo & { readonly id: string; readonly startedAt: string }>
  > {
    const { gateways } = await this.api.get("/v1/gateways", gatewaysAnswer, { deadline: PATIENCE });
    return gateways.map(gatewayFromWire);
  }

  approvals(filter: ApprovalFilter): Promise<readonly Approval[]> {
    return approvalsOf(this.api, filter);
  }

  async approval(id: number): Promise<Approval> {
    return approvalFromWire(await this.api.get(`/v1/approvals/${id}`, approvalWire));
  }

  async decideApproval(
    id: number,
    verdict: "approved" | "denied",
    _by: Principal,
    reason: string,
    { grant }: DecisionOptions = {},
  ): Promise<Approval> {
    const path = `/v1/approvals/${id}/decision`;
    const granted = grant && { grant: { uses: grant.uses, expires_ms: grant.expires } };
    const body = { decision: verdict, reason, ...granted };
    return approvalFromWire(await this.api.post(path, body, approvalWire, { deadline: PATIENCE }));
  }

  sight(sighting: Sighting): Promise<Sighted> {
    return this.api.post("/v1/tools/sightings", sightingToWire(sighting), sightedAnswer, {
      deadline: PATIENCE,
    });
  }

  async approvalContext(id: number): Promise<ApprovalContext> {
    return contextFromWire(await this.api.get(`/v1/approvals/${id}/context`, contextWire));
  }

  async grants(all: boolean): Promise<readonly Grant[]> {
    const path = `/v1/grants?all=${all}`;
    const { grants } = await this.api.get(path, grantsAnswer, { deadline: PATIENCE });
    return grants.map(grantFromWire);
  }

  async revokeGrant(id: number, _by: Principal, reason: string): Promise<void> {
    await this.api.post(`/v1/grants/${id}/revoke`, { reason }, nothingWire, { deadline: PATIENCE });
  }

  async pinnedTools(filter: ToolFilter): Promise<readonly PinnedTool[]> {
    const query = new URLSearchParams({ ...filter });
    const { tools } = await this.api.get(`/v1/tools?${query.toString()}`, pinnedAnswer, {
      deadline: PATIENCE,
      longest: longestPinned,
    });
    return tools.map(pinnedFromWire);
  }

  async acceptTools(filter: ToolFilter, definitions: readonly string[]): Promise<readonly PinnedTool[]> {
    const { tools } = await this.api.post("/v1/tools/accept", { ...filter, definitions }, pinnedAnswer, {
      deadline: PATIENCE,
      longest: longestPinned,
    });
    return tools.map(pinnedFromWire);
  }

  records(filter: RecordFilter): Promise<readonly LedgerRecord[]> {
    return recordsOf(this.api, filter);
  }

  verify(): Promise<VerifyReport> {
    return this.api.get("/v1/ledger/verify", verifyAnswer, { deadline: VERIFICATION });
  }

  createToken(token: NewToken): Promise<{ readonly id: number; readonly token: string }> {
    return this.api.post("/v1/tokens", newTokenToWire(token), newTokenAnswer, { deadline: PATIENCE });
  }

  async tokens(): Promise<readonly Token[]> {
    const { tokens } = await this.api.get("/v1/tokens", tokensAnswer, { deadline: PATIENCE });
    return tokens.map(tokenFromWire);
  }

  async revokeToken(id: number): Promise<void> {
    await this.api.post(`/v1/tokens/${id}/revoke`, {}, nothingWire, { deadline: PATIENCE });
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  private async end(): Promise<void> {
    const [ended] = await Promise.all([this.decisions.close(), this.detachments.close()]);
    await this.enlistment?.end(ended);
    await this.api.requests.close();
  }

  private async detach(batch: readonly Detachment[]): Promise<void> {
    for (const { approval, call } of batch)
      await this.api.post(`/v1/approvals/${approval}/detach`, { call }, nothingWire);
  }
}
