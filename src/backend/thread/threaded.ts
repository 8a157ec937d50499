import { hash } from "node:crypto";
import { Worker } from "node:worker_threads";
import type {
  BackendEvent,
  EventListener,
  GatewayInfo,
  Intent,
  Outcome,
  Principal,
  Verdict,
} from "../../client/backend.js";
import { AegisError, reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";
import { type UnreadIntent, withoutParsed } from "../decisions/unread-intent.js";
import { redactArguments } from "../ledger/redact.js";
import type { Service } from "../service.js";
import {
  clockOffset,
  type Order,
  type PlainMethod,
  type Report,
  receiveError,
  type SentIntent,
  type ThreadOptions,
} from "./messages.js";
import { Reader } from "./reader.js";

/** Milliseconds a credential that was proved is taken as proved; a revocation is heard at once, an expiry is not. */
const PROVED = 250;
/** Milliseconds an outcome waits for an order to travel with. */
const RIDE = 10;
const PROVED_AT_MOST = 10_000;

/** A thread that has been started and waits to be told what to open. */
export interface StartedThread {
  /**
   * Opens the backend in it.
   *
   * @param lost told when the thread ended by itself: nothing can be decided any more
   * @throws AegisError as `openBackend`
   */
  open(options: ThreadOptions, log: Logger, lost: (reason: string) => void): Promise<Service>;
  /** Ends it: what it was started for is somewhere else. */
  discard(): Promise<void>;
}

/**
 * The backend in a thread of its own. A commit waits for the disk, and the digest of large arguments takes
 * milliseconds: in the thread of the gateway, or of the HTTP API, both would hold up every other call. It is started first and told later what to
 * open, so that it loads while its gateway does.
 *
 * @param file the built `thread.ts`
 */
export function startThread(file: URL): StartedThread {
  const worker = new Worker(file);
  // Until it is opened it keeps nobody from leaving.
  worker.unref();
  return {
    async open(options, log, lost) {
      worker.ref();
      const thread = new Thread(worker, new Reader(file), log, lost);
      worker.postMessage([{ kind: "open", options } satisfies Order]);
      try {
        await thread.ready;
        return thread;
      } catch (thrown) {
        // A thread that opened nothing would keep the process from ending with what it has to say.
        thread.abandon();
        await worker.terminate();
        throw thrown;
      }
    },
    async discard() {
      await worker.terminate();
    },
  };
}

interface Asked {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
}

class Thread implements Service {
  description = "";
  readonly ready: Promise<void>;
  private orders: Order[] = [];
  private posting = false;
  private timer: NodeJS.Timeout | undefined;
  private readonly asked = new Map<number, Asked>();
  private readonly listeners = new Set<EventListener>();
  private readonly proved = new Map<string, { readonly principal: Principal; readonly until: number }>();
  /** How often those were forgotten: what was asked before that is not to be remembered. */
  private forgotten = 0;
  private counter = 0;
  /** Milliseconds from the thread's `performance.now()` to ours. */
  private clock = 0;
  private over: string | null = null;

  constructor(
    private readonly worker: Worker,
    private readonly reader: Reader,
    private readonly log: Logger,
    lost: (reason: string) => void,
  ) {
    this.ready = new Promise((resolve, reject) => {
      worker.on("message", (reports: readonly Report[]) => {
        for (const report of reports) {
          if (report.kind === "ready") {
            this.description = report.description;
            this.clock = clockOffset() - report.clock;
            resolve();
          } else if (report.kind === "failed") reject(receiveError(report.error));
          else this.take(report);
        }
      });
      const ended = (reason: string): void => {
        reject(gone(reason));
        if (this.over !== null) return;
        this.end(reason);
        lost(reason);
      };
      worker.once("error", (error) => ended(reasonOf(error)));
      worker.once("exit", () => ended("it ended"));
    });
  }

  async decide(intent: UnreadIntent): Promise<Verdict> {
    const sent = intent.unread === true ? await this.read(intent) : stripped(intent);
    return this.ours(await this.ask<Verdict>((id) => ({ kind: "decide", id, intent: sent })));
  }

  async release(intent: UnreadIntent, approval: number | null): Promise<Verdict> {
    const sent = intent.unread === true ? await this.read(intent) : stripped(intent);
    const order = (id: number): Order => ({ kind: "release", id, intent: sent, approval });
    return this.ours(await this.ask<Verdict>(order));
  }

  outcome(outcome: Outcome): void {
    if (this.over === null) {
      // Nobody waits for it: it travels with the next order, or alone soon.
      this.orders.push({ kind: "outcome", outcome });
      this.timer ??= setTimeout(this.post, RIDE);
    } else this.log.error({ call: outcome.call, outcome: outcome.outcome }, "an outcome was lost");
  }

  subscribe(listener: EventListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  async authenticate(token: string): Promise<Principal | null> {
    const key = hash("sha256", token, "base64");
    const known = this.proved.get(key);
    if (known !== undefined && performance.now() < known.until) return known.principal;
    const { forgotten } = this;
    const principal = await this.call("authenticate", token);
    if (this.proved.size >= PROVED_AT_MOST) this.proved.clear();
    if (principal === null) this.proved.delete(key);
    else if (forgotten === this.forgotten)
      this.proved.set(key, { principal, until: performance.now() + PROVED });
    return principal;
  }

  /** Its id never changes: nothing is ever told to `renamed`, and a function could not travel. */
  attach = (info: GatewayInfo): Promise<string> => this.call("attach", info);
  ensureAgent = this.plain("ensureAgent");
  detachWaiter = this.plain("detachWaiter");
  answerInClient = this.plain("answerInClient");
  note = this.plain("note");
  agents = this.plain("agents");
  kill = this.plain("kill");
  revive = this.plain("revive");
  gateways = this.plain("gateways");
  approvals = this.plain("approvals");
  approval = this.plain("approval");
  decideApproval = this.plain("decideApproval");
  approvalContext = this.plain("approvalContext");
  sight = this.plain("sight");
  grants = this.plain("grants");
  revokeGrant = this.plain("revokeGrant");
  pinnedTools = this.plain("pinnedTools");
  acceptTools = this.plain("acceptTools");
  records = this.plain("records");
  verify = this.plain("verify");
  createToken = this.plain("createToken");
  tokens = this.plain("tokens");
  revokeToken = this.plain("revokeToken");
  conclude = this.plain("conclude");
  enlist = this.plain("enlist");
  beat = this.plain("beat");
  heard = this.plain("heard");
  dismiss = this.plain("dismiss");
  newestEvent = this.plain("newestEvent");
  eventsAfter = this.plain("eventsAfter");
  register = this.plain("register");
  setLifecycle = this.plain("setLifecycle");
  declare = this.plain("declare");
  declarations = this.plain("declarations");
  ruleOf = this.plain("ruleOf");
  requestApproval = this.plain("requestApproval");
  report = this.plain("report");
  pollApproval = this.plain("pollApproval");
  latestApproval = this.plain("latestApproval");
  reported = this.plain("reported");
  rulesOf = this.plain("rulesOf");
  agent = this.plain("agent");
  openSession = this.plain("openSession");
  session = this.plain("session");
  endSession = this.plain("endSession");
  policy = this.plain("policy");
  revisions = this.plain("revisions");
  publish = this.plain("publish");
  adoptPolicies = this.plain("adoptPolicies");
  recordRefusedPolicies = this.plain("recordRefusedPolicies");
  publicKey = this.plain("publicKey");
  recordExport = this.plain("recordExport");
  stats = this.plain("stats");
  newestRecord = this.plain("newestRecord");

  async close(): Promise<void> {
    if (this.over !== null) return;
    try {
      await this.call("close");
    } finally {
      this.end("it was closed");
      await Promise.all([this.worker.terminate(), this.reader.close()]);
    }
  }

  /** Nothing was opened: its end is no loss. */
  abandon(): void {
    this.end("it was not opened");
  }

  private async read(intent: UnreadIntent): Promise<SentIntent> {
    return { ...withoutParsed(intent), redacted: await this.reader.read(intent.arguments) };
  }

  private plain<M extends PlainMethod>(method: M): Service[M] {
    return ((...args: readonly unknown[]) => this.call(method, ...args)) as Service[M];
  }

  private call<M extends PlainMethod>(
    method: M,
    ...args: readonly unknown[]
  ): Promise<Awaited<ReturnType<Service[M]>>> {
    return this.ask((id) => ({ kind: "call", id, method, args }));
  }

  private ask<T>(order: (id: number) => Order): Promise<T> {
    if (this.over !== null) return Promise.reject(gone(this.over));
    const id = ++this.counter;
    return new Promise<T>((resolve, reject) => {
      this.asked.set(id, { resolve, reject });
      this.send(order(id));
    });
  }

  /** Orders of one turn of the event loop travel in one message, and end up in one commit. */
  private send(order: Order): void {
    this.orders.push(order);
    if (this.posting) return;
    this.posting = true;
    setImmediate(this.post);
  }

  private readonly post = (): void => {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.posting = false;
    const sent = this.orders;
    this.orders = [];
    if (sent.length > 0) this.worker.postMessage(sent);
  };

  private take(report: Exclude<Report, { kind: "ready" | "failed" }>): void {
    if (report.kind === "event") {
      this.hear(report.number, report.event);
      return;
    }
    const asked = this.asked.get(report.id);
    this.asked.delete(report.id);
    if (report.kind === "done") asked?.resolve(report.result as never);
    else asked?.reject(receiveError(report.error));
  }

  private hear(number: number, event: BackendEvent): void {
    if (event.kind === "token" || event.kind === "resync") {
      this.forgotten++;
      this.proved.clear();
    }
    const told = [...this.listeners].map(async (listener) => listener(event));
    Promise.allSettled(told).then(
      (results) => {
        let well = true;
        for (const result of results) {
          if (result.status === "fulfilled") continue;
          well = false;
          this.log.error({ reason: reasonOf(result.reason) }, "an event listener failed");
        }
        this.send({ kind: "heard", event: number, well });
      },
      () => {},
    );
  }

  private ours(verdict: Verdict): Verdict {
    if (verdict.leaseUntil === undefined) return verdict;
    return { ...verdict, leaseUntil: verdict.leaseUntil + this.clock };
  }

  private end(reason: string): void {
    this.over = reason;
    for (const { reject } of this.asked.values()) reject(gone(reason));
    this.asked.clear();
  }
}

/** Arguments, in characters, from which on the redacted form travels instead of being made from the text again. */
const LONG = 4096;

function stripped({ parsed, ...sent }: Intent): SentIntent {
  return sent.arguments.length < LONG ? sent : { ...sent, redacted: redactArguments(parsed) };
}

function gone(reason: string): AegisError {
  return new AegisError("backend_unavailable", `The backend does not run: ${reason}.`, {
    hint: "Start it again; its log says why it ended.",
  });
}
