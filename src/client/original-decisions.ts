import type { Logger } from "../log.js";
import type { Decision, Intent, Outcome, OutcomeKind, Verdict } from "./backend.js";
import type { OriginalApi } from "./original-api.js";
import type { OriginalApprovals } from "./original-approvals.js";
import type { Latch } from "./original-latch.js";
import { Outbox } from "./outbox.js";
import { DEADLINE } from "./requests.js";

/** Milliseconds an ALLOW may be used, from when the agent's status was asked for. */
const LEASE = 2_000;

/** How the original's log calls the ends of calls: `ALLOWED` stands there before the call, these behind it. */
const endings: Record<OutcomeKind, string> = {
  ok: "COMPLETED",
  tool_error: "FAILED",
  error: "FAILED",
  unknown: "UNKNOWN",
  not_forwarded: "NOT_FORWARDED",
  cancelled: "CANCELLED",
  killed: "KILLED",
  waiting: "WAITING",
  refused: "BLOCKED",
};

interface Allowed {
  readonly arguments: string;
  /** The approval that it took. */
  readonly approval: number | null;
}

interface State {
  /** `performance.now()` right before the agent's status was asked for. */
  readonly sentAt: number;
  readonly rule: "ALLOW" | "BLOCK" | "REVIEW" | null;
  /** The answer already, where it may not run. */
  readonly refusal: Verdict | null;
}

export interface LogEntry {
  readonly agent: string;
  readonly action: string;
  readonly status: string;
  readonly details: string;
}

/** What a gateway asks of every call: the agent's status, the policy, and the log, in this order. */
export class OriginalDecisions {
  /** What is logged though nobody waits for it. */
  readonly later: Outbox<LogEntry>;
  private readonly allowed = new Map<string, Allowed>();

  constructor(
    private readonly api: OriginalApi,
    private readonly latch: Latch,
    private readonly approved: OriginalApprovals,
    log: Logger,
  ) {
    const write = async (batch: readonly LogEntry[]): Promise<void> => {
      for (const { agent, action, status, details } of batch) await api.log(agent, action, status, details);
    };
    this.later = new Outbox<LogEntry>("outcomes", 1, write, log);
  }

  async decide(intent: Intent): Promise<Verdict> {
    const until = performance.now() + DEADLINE;
    const state = await this.ask(intent, until);
    if (state.refusal !== null) return state.refusal;
    if (state.rule === "ALLOW") return this.allow(intent, state, "Allowed by policy.", null, until);
    const rule = ruleText(intent, state.rule);
    const reason =
      rule === null ? "No rule speaks of this call." : "The policy asks for a person's decision.";
    const approval = await this.approved.ask(intent, rule, reason, until);
    try {
      const details = `Approval #${approval.id}: call ${intent.call} waits for a decision.`;
      await this.write(intent, "PENDING", details, until);
    } catch (thrown) {
      // The call is refused: a waiter that stayed behind would keep its repeat from finding the approval.
      this.approved.detach(approval.id, intent.call);
      throw thrown;
    }
    this.latch.began(intent.call, intent.agent);
    return { ...said(intent, "REVIEW", rule, reason), approval };
  }

  async release(intent: Intent, approval: number | null): Promise<Verdict> {
    const until = performance.now() + DEADLINE;
    const state = await this.ask(intent, until);
    if (state.refusal !== null) {
      if (approval !== null) await this.approved.void(approval);
      return state.refusal;
    }
    if (approval === null) return this.renew(intent, state, until);
    const refused = await this.approved.use(approval, intent, until);
    if (refused !== null) return this.block(intent, null, refused, until);
    return this.allow(intent, state, `Approval ${approval} was approved.`, approval, until);
  }

  outcome({ call, agent, action, outcome, duration, reason }: Outcome): void {
    this.over(call);
    const why = reason === undefined ? "" : `: ${reason}`;
    const details = `Call ${call} ended as ${outcome} after ${Math.round(duration)} ms${why}`;
    this.later.push({ agent, action, status: endings[outcome], details });
  }

  /** What every decision begins with: is the agent stopped, and what does the policy say. */
  private async ask(intent: Intent, until: number): Promise<State> {
    const { agent, action } = intent;
    const left = (): number => until - performance.now();
    const { status, sentAt } = await this.api.agentStatus(agent, left());
    // It lost its store. What was killed before stays killed.
    if (status === null && this.latch.knows(agent)) await this.api.register(agent, left());
    else if (status === null) {
      const reason = `Blocked: the agent ${agent} is not known to this backend.`;
      return { sentAt, rule: null, refusal: await this.block(intent, null, reason, until) };
    }
    await this.latch.saw(agent, status, sentAt);
    // Whatever newer answers say: a call that was told so itself does not run.
    if (status === "PAUSED" || this.latch.isKilled(agent)) {
      const reason = `The agent ${agent} was stopped by a person.`;
      this.over(intent.call);
      await this.write(intent, "KILLED", reason, until);
      return { sentAt, rule: null, refusal: said(intent, "KILLED", null, reason) };
    }
    const rule = await this.api.rule(agent, action, left());
    if (rule !== "BLOCK") return { sentAt, rule, refusal: null };
    const text = ruleText(intent, rule);
    return { sentAt, rule, refusal: await this.block(intent, text, `Blocked by policy (${text}).`, until) };
  }

  /** Nothing is allowed before it stands in the log. */
  private async allow(
    intent: Intent,
    { sentAt, rule }: State,
    reason: string,
    approval: number | null,
    until: number,
  ): Promise<Verdict> {
    const how = approval === null ? "by policy" : `by approval #${approval}`;
    await this.write(intent, "ALLOWED", `Call ${intent.call} is allowed ${how} and is forwarded now.`, until);
    this.latch.began(intent.call, intent.agent);
    this.allowed.set(intent.call, { arguments: intent.arguments, approval });
    return { ...said(intent, "ALLOW", ruleText(intent, rule), reason), leaseUntil: sentAt + LEASE };
  }

  private async renew(intent: Intent, { sentAt, rule }: State, until: number): Promise<Verdict> {
    const before = this.allowed.get(intent.call);
    const text = ruleText(intent, rule);
    if (before?.arguments === intent.arguments && (rule === "ALLOW" || before.approval !== null))
      return { ...said(intent, "ALLOW", text, "Lease renewed."), leaseUntil: sentAt + LEASE };
    const reason = "The policy does not allow this call any more. Repeat it to ask for approval.";
    return this.block(intent, text, reason, until);
  }

  private async block(intent: Intent, rule: string | null, reason: string, until: number): Promise<Verdict> {
    this.over(intent.call);
    await this.write(intent, "BLOCKED", reason, until);
    return said(intent, "BLOCK", rule, reason);
  }

  private over(call: string): void {
    this.latch.ended(call);
    this.allowed.delete(call);
  }

  private write({ agent, action }: Intent, status: string, details: string, until: number): Promise<void> {
    return this.api.log(agent, action, status, details, until - performance.now());
  }
}

/** The original has neither revisions nor numbers of records that it tells. */
function said({ call }: Intent, decision: Decision, rule: string | null, reason: string): Verdict {
  return { call, decision, rule, reason, revision: "original", record: 0 };
}

function ruleText({ agent, action }: Intent, rule: string | null): string | null {
  return rule === null ? null : `${agent}: ${rule} ${action}`;
}
