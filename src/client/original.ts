import { randomBytes } from "node:crypto";
import { AegisError } from "../errors.js";
import type { Logger } from "../log.js";
import { nearest } from "../suggest.js";
import { visible } from "../visible.js";
import type {
  Agent,
  Approval,
  ApprovalStatus,
  Backend,
  Decision,
  EventListener,
  GatewayInfo,
  Intent,
  KillReceipt,
  LedgerRecord,
  Note,
  Outcome,
  OutcomeKind,
  Principal,
  RecordFilter,
  Verdict,
} from "./backend.js";
import { Listeners } from "./listeners.js";
import { OriginalApi } from "./original-api.js";
import { OriginalApprovals } from "./original-approvals.js";
import { Latch } from "./original-latch.js";
import { agentOf, approvalOfPending, recordOf } from "./original-people.js";
import { Outbox } from "./outbox.js";
import { DEADLINE, type Requests } from "./requests.js";

/** Milliseconds an ALLOW may be used, from when the agent's status was asked for. */
const LEASE = 2_000;
/** Entries of the log that are read where the newest of some filter are wanted. */
const LOOKED_AT = 1_000;

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

interface LogEntry {
  readonly agent: string;
  readonly action: string;
  readonly status: string;
  readonly details: string;
}

/**
 * A backend of the original Aegis, which knows nothing newer than the contract. What it has not — leases, the binding of
 * an approval to one call, kills that last — is kept here as far as one process can; `doctor` says what cannot.
 */
export class OriginalBackend implements Backend {
  readonly description: string;
  private readonly api: OriginalApi;
  private readonly listeners: Listeners;
  private readonly latch: Latch;
  private readonly approved: OriginalApprovals;
  private readonly log: Outbox<LogEntry>;
  private readonly allowed = new Map<string, Allowed>();

  /** @param requests closed with this backend */
  constructor(requests: Requests, holdExpires: number, logger: Logger) {
    this.api = new OriginalApi(requests);
    this.description = `original Aegis backend at ${this.api.shown}`;
    this.listeners = new Listeners(logger);
    this.latch = new Latch(this.api, this.listeners, logger);
    this.approved = new OriginalApprovals(this.api, this.listeners, holdExpires, logger);
    const write = async (batch: readonly LogEntry[]): Promise<void> => {
      for (const { agent, action, status, details } of batch)
        await this.api.log(agent, action, status, details);
    };
    this.log = new Outbox<LogEntry>("outcomes", 1, write, logger);
  }

  /** Nobody there keeps gateways: the id is our own. */
  async attach(_info: GatewayInfo): Promise<string> {
    this.latch.start();
    return randomBytes(6).toString("hex");
  }

  async ensureAgent(name: string): Promise<void> {
    const { status } = await this.api.agentStatus(name);
    // Registering sets the status, and so would undo a kill: never where there is one.
    if (status === null) await this.api.register(name);
    await this.latch.saw(name, status);
  }

  async decide(intent: Intent): Promise<Verdict> {
    const until = performance.now() + DEADLINE;
    const state = await this.ask(intent, until);
    if (state.refusal !== null) return state.refusal;
    if (state.rule === "ALLOW") return this.allow(intent, state, "Allowed by policy.", null, until);
    const rule = state.rule === null ? null : ruleText(intent, state.rule);
    const reason =
      rule === null ? "No rule speaks of this call." : "The policy asks for a person's decision.";
    const approval = await this.approved.ask(intent, rule, reason, until);
    this.latch.began(intent.call, intent.agent);
    await this.write(
      intent,
      "PENDING",
      `Approval #${approval.id}: call ${intent.call} waits for a decision.`,
      until,
    );
    return { ...verdict(intent, "REVIEW", rule, reason), approval };
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

  async detachWaiter(approval: number, call: string): Promise<void> {
    this.approved.detach(approval, call);
  }

  outcome({ call, agent, action, outcome, duration, reason }: Outcome): void {
    this.latch.ended(call);
    this.allowed.delete(call);
    const why = reason === undefined ? "" : `: ${reason}`;
    const details = `Call ${call} ended as ${outcome} after ${Math.round(duration)} ms${why}`;
    this.log.push({ agent, action, status: endings[outcome], details });
  }

  async note({ kind, agent = "aegis", action = "gateway", reason }: Note): Promise<void> {
    await this.api.log(agent, action, kind.toUpperCase(), reason);
  }

  subscribe(listener: EventListener): () => void {
    return this.listeners.subscribe(listener);
  }

  async authenticate(): Promise<Principal | null> {
    throw unsupported(
      "it knows no tokens, so clients over HTTP cannot be told apart",
      "Speak stdio with it.",
    );
  }

  async agents(): Promise<readonly Agent[]> {
    const listed = new Map((await this.api.agents()).map((agent) => [agent.name, agentOf(agent)]));
    // `/agents` leaves out what belongs to another session.
    for (const name of this.latch.known) {
      if (this.latch.isKilled(name))
        listed.set(name, { ...(listed.get(name) ?? agentOf(nameOnly(name))), status: "KILLED" });
      else if (!listed.has(name)) listed.set(name, agentOf(nameOnly(name)));
    }
    return [...listed.values()];
  }

  async kill(agent: string, by: Principal, reason: string): Promise<KillReceipt> {
    const already = (await this.statusOf(agent)) === "PAUSED";
    if (!already) await this.setStatus(agent, "PAUSED", `killed by ${by.name}`, reason);
    await this.approved.voidAll(agent);
    return { agent, already, gateways: [], voided: 0 };
  }

  async revive(agent: string, by: Principal, reason: string): Promise<void> {
    if ((await this.statusOf(agent)) === "PAUSED")
      await this.setStatus(agent, "ACTIVE", `revived by ${by.name}`, reason);
    await this.latch.saw(agent, "ACTIVE");
  }

  /** It keeps none. */
  async gateways(): Promise<[]> {
    return [];
  }

  async approvals({ status }: { readonly status?: ApprovalStatus }): Promise<readonly Approval[]> {
    const found = new Map(this.approved.all().map((approval) => [approval.id, approval]));
    for (const row of await this.api.pending())
      found.set(row.id, this.approved.known(row.id) ?? approvalOfPending(row));
    const sorted = [...found.values()].toSorted((one, other) => one.id - other.id);
    return status === undefined ? sorted : sorted.filter((approval) => approval.status === status);
  }

  async approval(id: number): Promise<Approval> {
    const own = this.approved.known(id);
    if (own !== undefined) return own;
    const pending = (await this.api.pending()).find((row) => row.id === id);
    if (pending !== undefined) return approvalOfPending(pending);
    const status = await this.api.approvalStatus(id);
    if (status === null) throw unknownApproval(id);
    return approvalOfPending({ id, agent_name: "", action: "", args_json: "", created_at: "" }, status);
  }

  async decideApproval(id: number, verdict: "approved" | "denied", by: Principal): Promise<Approval> {
    const status = await this.api.approvalStatus(id);
    if (status === null) throw unknownApproval(id);
    if (status !== "PENDING") throw settled(id, status.toLowerCase());
    const before = await this.approval(id);
    const decision = verdict === "approved" ? "APPROVED" : "DENIED";
    await this.api.decide(id, decision);
    const after = await this.api.approvalStatus(id);
    // Read, then write: of two people who decide at one moment, both are told that they did.
    if (after !== decision) throw settled(id, String(after).toLowerCase());
    return { ...before, status: verdict, decidedAt: new Date().toISOString(), decidedBy: by.name };
  }

  async records({ agent, kinds, limit, after, before }: RecordFilter): Promise<readonly LedgerRecord[]> {
    const wanted = after === undefined && before === undefined ? limit : Math.max(limit, LOOKED_AT);
    const records = (await this.api.entries(agent, wanted))
      .map(recordOf)
      .filter(
        ({ id, kind }) => id > (after ?? 0) && id < (before ?? Infinity) && (kinds?.includes(kind) ?? true),
      );
    return after === undefined ? records.slice(-limit) : records.slice(0, limit);
  }

  async verify(): Promise<never> {
    throw unsupported(
      "its log has no chain, and entries are rewritten in place",
      "An aegis backend has a ledger.",
    );
  }

  async createToken(): Promise<never> {
    throw unsupported("it knows no tokens", "An aegis backend has them.");
  }

  async tokens(): Promise<never> {
    throw unsupported("it knows no tokens", "An aegis backend has them.");
  }

  async revokeToken(): Promise<never> {
    throw unsupported("it knows no tokens", "An aegis backend has them.");
  }

  async close(): Promise<void> {
    this.latch.stop();
    this.approved.stop();
    await this.log.close();
    await this.api.requests.close();
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
    await this.latch.saw(agent, status);
    if (this.latch.isKilled(agent)) {
      const reason = `The agent ${agent} was stopped by a person.`;
      this.over(intent.call);
      await this.write(intent, "KILLED", reason, until);
      return { sentAt, rule: null, refusal: verdict(intent, "KILLED", null, reason) };
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
    const text = rule === null ? null : ruleText(intent, rule);
    return { ...verdict(intent, "ALLOW", text, reason), leaseUntil: sentAt + LEASE };
  }

  private async renew(intent: Intent, { sentAt, rule }: State, until: number): Promise<Verdict> {
    const before = this.allowed.get(intent.call);
    const text = rule === null ? null : ruleText(intent, rule);
    if (before?.arguments === intent.arguments && (rule === "ALLOW" || before.approval !== null))
      return { ...verdict(intent, "ALLOW", text, "Lease renewed."), leaseUntil: sentAt + LEASE };
    return this.block(
      intent,
      text,
      "The policy does not allow this call any more. Repeat it to ask for approval.",
      until,
    );
  }

  private async block(intent: Intent, rule: string | null, reason: string, until: number): Promise<Verdict> {
    this.over(intent.call);
    await this.write(intent, "BLOCKED", reason, until);
    return verdict(intent, "BLOCK", rule, reason);
  }

  private over(call: string): void {
    this.latch.ended(call);
    this.allowed.delete(call);
  }

  private write({ agent, action }: Intent, status: string, details: string, until: number): Promise<void> {
    return this.api.log(agent, action, status, details, until - performance.now());
  }

  /** @throws AegisError `unknown_agent` */
  private async statusOf(agent: string): Promise<"REGISTERED" | "ACTIVE" | "PAUSED" | "COMPLETED"> {
    const { status } = await this.api.agentStatus(agent);
    if (status !== null) return status;
    const meant = nearest(
      agent,
      (await this.api.agents()).map(({ name }) => name),
    );
    throw new AegisError(
      "unknown_agent",
      `No agent "${visible(agent)}" has ever been seen by this backend.`,
      {
        hint: meant === null ? "List them: aegis status" : `Did you mean ${visible(meant)}?`,
      },
    );
  }

  /** Where the agent does not exist the original says "ok" all the same (Z14): what counts is what is read back. */
  private async setStatus(
    agent: string,
    status: "ACTIVE" | "PAUSED",
    what: string,
    reason: string,
  ): Promise<void> {
    await this.api.setStatus(agent, status);
    const { status: now } = await this.api.agentStatus(agent);
    if (now !== status) {
      throw new AegisError(
        "backend_unavailable",
        `The agent ${visible(agent)} is ${now ?? "unknown"} after it was set to ${status}.`,
        {
          hint: "Try again; another client may have changed it at the same moment.",
        },
      );
    }
    await this.latch.saw(agent, now);
    const why = reason === "" ? "" : `: ${reason}`;
    this.log.push({
      agent,
      action: "agent",
      status: status === "PAUSED" ? "KILLED" : "REVIVED",
      details: what + why,
    });
  }
}

interface State {
  /** `performance.now()` right before the agent's status was asked for. */
  readonly sentAt: number;
  readonly rule: "ALLOW" | "BLOCK" | "REVIEW" | null;
  /** The answer already, where it may not run. */
  readonly refusal: Verdict | null;
}

/** It has neither revisions nor numbers of records. */
function verdict({ call }: Intent, decision: Decision, rule: string | null, reason: string): Verdict {
  return { call, decision, rule, reason, revision: "original", record: 0 };
}

function ruleText({ agent, action }: Intent, rule: string): string {
  return `${agent}: ${rule} ${action}`;
}

function nameOnly(name: string): Parameters<typeof agentOf>[0] {
  return {
    name,
    status: "REGISTERED",
    owner: "",
    created_at: "",
    total_logs: 0,
    blocked_count: 0,
    allowed_count: 0,
  };
}

function unsupported(what: string, hint: string): AegisError {
  return new AegisError("backend_unsupported", `The original Aegis backend cannot do this: ${what}.`, {
    hint,
  });
}

function unknownApproval(id: number): AegisError {
  return new AegisError("unknown_approval", `There is no approval ${id}.`, {
    hint: "`aegis approvals` lists those that wait.",
  });
}

function settled(id: number, status: string): AegisError {
  return new AegisError("approval_settled", `Approval ${id} is ${status}; nothing was changed.`, {
    hint: "When the call is repeated, it asks again.",
  });
}
