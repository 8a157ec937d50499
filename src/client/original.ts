import { randomBytes } from "node:crypto";
import { AegisError } from "../errors.js";
import type { Logger } from "../log.js";
import { nearest } from "../suggest.js";
import { visible } from "../visible.js";
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
  Note,
  Outcome,
  PinnedTool,
  Principal,
  RecordFilter,
  Sighted,
  Sighting,
  Verdict,
} from "./backend.js";
import { Listeners } from "./listeners.js";
import { OriginalApi, type OriginalStatus } from "./original-api.js";
import { OriginalApprovals } from "./original-approvals.js";
import { OriginalDecisions } from "./original-decisions.js";
import { Latch } from "./original-latch.js";
import { agentOf, approvalOfPending, recordOf } from "./original-people.js";
import type { Requests } from "./requests.js";

/** Entries of the log that are read where the newest of some filter are wanted. */
const LOOKED_AT = 1_000;

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
  private readonly decisions: OriginalDecisions;

  /** @param requests closed with this backend */
  constructor(requests: Requests, holdExpires: number, logger: Logger) {
    this.api = new OriginalApi(requests);
    this.description = `original Aegis backend at ${this.api.shown}`;
    this.listeners = new Listeners(logger);
    this.latch = new Latch(this.api, this.listeners, logger);
    this.approved = new OriginalApprovals(this.api, this.listeners, holdExpires, logger);
    this.decisions = new OriginalDecisions(this.api, this.latch, this.approved, logger);
  }

  /** Nobody there keeps gateways: the id is our own. */
  async attach(_info: GatewayInfo): Promise<string> {
    this.latch.start();
    return randomBytes(6).toString("hex");
  }

  async ensureAgent(name: string): Promise<void> {
    const { status, sentAt } = await this.api.agentStatus(name);
    // Registering sets the status, and so would undo a kill: never where there is one.
    if (status === null) await this.api.register(name);
    await this.latch.saw(name, status, sentAt);
  }

  decide(intent: Intent): Promise<Verdict> {
    return this.decisions.decide(intent);
  }

  release(intent: Intent, approval: number | null): Promise<Verdict> {
    return this.decisions.release(intent, approval);
  }

  async detachWaiter(approval: number, call: string): Promise<void> {
    this.approved.detach(approval, call);
  }

  async answerInClient(): Promise<void> {
    throw unsupported(
      "it does not know by which way an approval may be decided",
      "Decide it with `aegis approve`, or use an aegis backend.",
    );
  }

  outcome(outcome: Outcome): void {
    this.decisions.outcome(outcome);
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
    const already = (await this.statusOf(agent)).status === "PAUSED";
    if (!already) await this.setStatus(agent, "PAUSED", `killed by ${by.name}`, reason);
    await this.approved.voidAll(agent);
    return { agent, already, gateways: [], voided: 0 };
  }

  /** Also where it is no longer paused because it registered again: gateways that saw the kill wait for ACTIVE. */
  async revive(agent: string, by: Principal, reason: string): Promise<void> {
    const { status, sentAt } = await this.statusOf(agent);
    if (status === "ACTIVE") await this.latch.saw(agent, status, sentAt);
    else await this.setStatus(agent, "ACTIVE", `revived by ${by.name}`, reason);
  }

  /** It keeps none. */
  async gateways(): Promise<[]> {
    return [];
  }

  async approvals({ status, limit, before = Infinity }: ApprovalFilter): Promise<readonly Approval[]> {
    const found = new Map(this.approved.all().map((approval) => [approval.id, approval]));
    for (const row of await this.api.pending())
      found.set(row.id, this.approved.known(row.id) ?? approvalOfPending(row));
    const sorted = [...found.values()].toSorted((one, other) => one.id - other.id);
    const wanted = sorted.filter(
      ({ id, ...each }) => id < before && (status === undefined || each.status === status),
    );
    return limit === undefined ? wanted : wanted.slice(-limit);
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

  async decideApproval(
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    _reason = "",
    { grant }: DecisionOptions = {},
  ): Promise<Approval> {
    if (grant !== undefined) throw noGrants();
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

  /** It pins nothing: every tool counts as accepted, whatever becomes of it (`doctor` says so). */
  async sight({ tools }: Sighting): Promise<Sighted> {
    return { tools: tools.map(({ name }) => ({ name, state: "accepted", hidden: false })), missing: [] };
  }

  /** It keeps no definitions, and forgets what an approval was for. */
  async approvalContext(id: number): Promise<ApprovalContext> {
    await this.approval(id);
    return { definition: null, previous: null, alike: [] };
  }

  async grants(): Promise<readonly Grant[]> {
    throw noGrants();
  }

  async revokeGrant(): Promise<void> {
    throw noGrants();
  }

  async pinnedTools(): Promise<readonly PinnedTool[]> {
    throw noPins();
  }

  async acceptTools(): Promise<readonly PinnedTool[]> {
    throw noPins();
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
    await this.decisions.later.close();
    await this.api.requests.close();
  }

  /** @throws AegisError `unknown_agent` */
  private async statusOf(
    agent: string,
  ): Promise<{ readonly status: OriginalStatus; readonly sentAt: number }> {
    const answer = await this.api.agentStatus(agent);
    if (answer.status !== null) return answer;
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
    const { status: now, sentAt } = await this.api.agentStatus(agent);
    if (now !== status) {
      throw new AegisError(
        "backend_unavailable",
        `The agent ${visible(agent)} is ${now ?? "unknown"} after it was set to ${status}.`,
        {
          hint: "Try again; another client may have changed it at the same moment.",
        },
      );
    }
    await this.latch.saw(agent, now, sentAt);
    const why = reason === "" ? "" : `: ${reason}`;
    this.decisions.later.push({
      agent,
      action: "agent",
      status: status === "PAUSED" ? "KILLED" : "REVIVED",
      details: what + why,
    });
  }
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

function noGrants(): AegisError {
  return unsupported("it knows no grants", "Approve calls one by one, or use an aegis backend.");
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

function noPins(): AegisError {
  return new AegisError("backend_unsupported", "The original backend does not pin tools.", {
    hint: "`aegis backend` does, and speaks the original contract too.",
  });
}
