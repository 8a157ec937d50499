import { AegisError } from "../errors.js";
import type { Logger } from "../log.js";
import type { Intent, Outcome, Principal, Verdict } from "./backend.js";
import type { Api } from "./http-api.js";
import { OpenCalls } from "./open-calls.js";
import { Outbox } from "./outbox.js";
import { type Answer, DEADLINE, NoAnswer } from "./requests.js";
import { intentToWire, verdictFromWire, verdictWire } from "./wire/decisions.js";
import { nothingWire } from "./wire/fields.js";
import { httpLease } from "./wire/gateways.js";
import { mostOutcomes, outcomeToWire } from "./wire/outcomes.js";

/** Milliseconds below which it is not worth asking again. */
const WORTHWHILE = 50;

/** Milliseconds after which a decision whose answer was not heard is recorded, or never will be. */
const LATEST = 5_000;
const UNHEARD = "The backend's answer did not reach the gateway.";

/** What became of the questions about one call. */
interface Trace {
  /** One of them may have been recorded, and its answer did not come. */
  lost: boolean;
}

/** What a gateway asks of every call, and tells of its end. */
export class Decisions {
  readonly open = new OpenCalls();
  /** The approvals that calls wait on here, by call. */
  readonly held = new Map<string, number>();
  private readonly outbox: Outbox<Outcome>;
  /** Calls of which an answer was not heard: their end, once it is known, is told when that is surely written. */
  private readonly unheard = new Map<string, Outcome | null>();

  constructor(
    private readonly api: Api,
    private readonly principal: Principal,
    /** Told that the backend does not know the gateway of this id (any more). */
    private readonly onForgotten: (gateway: string) => void,
    log: Logger,
  ) {
    this.outbox = new Outbox<Outcome>(
      "outcomes",
      mostOutcomes,
      (batch) => this.deliver(batch),
      log,
      ({ call }) => this.settled(call),
    );
  }

  async decide(intent: Intent): Promise<Verdict> {
    this.open.asked(intent.call);
    const trace: Trace = { lost: false };
    try {
      const verdict = await this.ask(trace, "/v1/decisions", intent, this.intent(intent));
      this.note(verdict, intent);
      return verdict;
    } catch (thrown) {
      if (trace.lost) this.endUnheard(intent);
      else this.open.ended(intent.call);
      throw thrown;
    }
  }

  async release(intent: Intent, approval: number | null): Promise<Verdict> {
    this.open.asked(intent.call);
    const again = { ...this.intent(intent), approval: null };
    const trace: Trace = { lost: false };
    try {
      const verdict = await this.ask(
        trace,
        "/v1/decisions/release",
        intent,
        { ...this.intent(intent), approval },
        // An approval is used once: asked again, only a renewal can say whether it was by this call.
        approval === null ? undefined : (said) => (said.approval?.status === "consumed" ? again : null),
      );
      this.note(verdict, intent);
      return verdict;
    } catch (thrown) {
      if (trace.lost) this.awaitUnheard(intent.call, null);
      throw thrown;
    }
  }

  outcome(outcome: Outcome): void {
    const { call } = outcome;
    this.held.delete(call);
    // Told now it would be the only end of the call, with an ALLOW behind it.
    if (this.unheard.has(call))
      this.unheard.set(call, { ...outcome, outcome: "not_forwarded", reason: UNHEARD });
    else this.outbox.push(outcome);
  }

  /** @returns whether every call has ended at the backend */
  async close(): Promise<boolean> {
    return (await this.outbox.close()) && this.open.isEmpty;
  }

  /**
   * One answer within the deadline, or none. What has been sent is sent again once, where the connection broke before
   * the answer: the id of the call keeps it one decision, and an ALLOW that is repeated has no lease.
   *
   * @param followUp what to ask where the second answer may be about the first question
   */
  private async ask(
    trace: Trace,
    path: string,
    intent: Intent,
    body: object,
    followUp?: (verdict: Verdict) => object | null,
  ): Promise<Verdict> {
    try {
      return await this.askWithin(performance.now() + DEADLINE, trace, path, intent, body, followUp);
    } catch (thrown) {
      trace.lost ||= mayBeWritten(thrown);
      if (!(thrown instanceof AegisError && thrown.code === "unknown_gateway")) throw thrown;
      this.onForgotten(intent.gateway);
      // The caller reads this: what the backend says is meant for gateways.
      throw new AegisError(
        "unknown_gateway",
        "The backend does not know this gateway any more, which registers with it again; the call was not run. " +
          "Repeat exactly the same call: an approval that was given for it is picked up.",
        { cause: thrown },
      );
    }
  }

  private async askWithin(
    until: number,
    trace: Trace,
    path: string,
    intent: Intent,
    body: object,
    followUp?: (verdict: Verdict) => object | null,
  ): Promise<Verdict> {
    // Arguments that policy changed come back with the verdict, as text in a text.
    const longest = 1024 * 1024 + 4 * Buffer.byteLength(intent.arguments);
    const once = (wire: object): Promise<Answer> =>
      this.api.requests.ask({
        method: "POST",
        path,
        body: wire,
        deadline: until - performance.now(),
        longest,
      });
    let answer: Answer;
    try {
      answer = await once(body);
    } catch (thrown) {
      if (!(thrown instanceof NoAnswer && thrown.broke) || until - performance.now() < WORTHWHILE)
        throw thrown;
      trace.lost = true;
      const verdict = this.verdict(await once(body), intent);
      const next = followUp?.(verdict) ?? null;
      return next === null ? verdict : this.verdict(await once(next), intent);
    }
    return this.verdict(answer, intent);
  }

  /** Exactly one of our verdicts, about exactly this call (threats P11, T12); anything else throws. */
  private verdict(answer: Answer, intent: Intent): Verdict {
    const wire = this.api.parse(answer, verdictWire);
    if (wire.call !== intent.call) {
      throw new AegisError(
        "backend_unavailable",
        `The backend at ${this.api.shown} answered about another call than ${intent.action}; the call was not run.`,
      );
    }
    const lease = wire.lease_ms === undefined ? {} : { lease_ms: Math.min(wire.lease_ms, httpLease) };
    return verdictFromWire({ ...wire, ...lease }, answer.sentAt);
  }

  private note({ call, decision, record, approval }: Verdict, { stage }: Intent): void {
    this.open.decided(call, record);
    if (decision === "REVIEW" && approval !== undefined) this.held.set(call, approval.id);
    else this.held.delete(call);
    // Nothing is told of the end of what was refused, or of an answer: its decision is the last word.
    const last = decision === "BLOCK" || decision === "KILLED" || stage === "result";
    if (last) this.open.ended(call);
  }

  /**
   * The decision may have been recorded, and nobody else will say how it ended (threat L3). It may also still be on its
   * way into the ledger, and an outcome that comes before it counts for nothing: so that is told once more.
   */
  private endUnheard({ call, agent, principal, server, tool, action }: Intent): void {
    const unheard = { call, agent, principal, server, tool, action, duration: 0, reason: UNHEARD };
    const ended: Outcome = { ...unheard, outcome: "not_forwarded" };
    this.awaitUnheard(call, ended);
    this.outbox.push(ended);
  }

  private awaitUnheard(call: string, ended: Outcome | null): void {
    this.unheard.set(call, ended);
    setTimeout(() => {
      const outcome = this.unheard.get(call) ?? null;
      this.unheard.delete(call);
      // Null where it has not ended here yet: then its end comes late enough by itself.
      if (outcome !== null) this.outbox.push(outcome);
    }, LATEST).unref();
  }

  private intent(intent: Intent): object {
    return intentToWire(intent, this.named(intent.principal));
  }

  /** A token that is bound to an agent says itself who calls. */
  private named(principal: string): string | undefined {
    return this.principal.agent === null ? principal : undefined;
  }

  private async deliver(batch: readonly Outcome[]): Promise<void> {
    const outcomes = batch.map((each) => outcomeToWire(each, this.named(each.principal)));
    await this.api.post("/v1/outcomes", { outcomes }, nothingWire);
    for (const { call } of batch) this.settled(call);
  }

  /** Nothing more is told of the call. */
  private settled(call: string): void {
    if (!this.unheard.has(call)) this.open.ended(call);
  }
}

/** A refusal says that nothing was written, and so does a question that was never sent. */
function mayBeWritten(thrown: unknown): boolean {
  if (thrown instanceof NoAnswer) return thrown.sent;
  return !(thrown instanceof AegisError) || thrown.code === "backend_unavailable";
}
