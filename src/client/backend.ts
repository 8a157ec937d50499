/**
 * What the gateway, the CLI and the SDK ask of an Aegis backend. The embedded implementation is
 * `src/backend/stored-backend.ts`; it is injected by the CLI. Times named `…At` are ISO 8601 UTC strings with
 * milliseconds. Long, since it is the whole of what one side may know of the other.
 */
import type { DataRule } from "../data/rules.js";
import type { Channel, GrantTerms, Requirement } from "../requirement.js";

/** What policy and state say of a call. */
export type Decision = "ALLOW" | "BLOCK" | "REVIEW" | "KILLED";

/** One tool call, as the gateway is about to make it. */
export interface Intent {
  /** The id of the call, unique for ever; also the idempotency key of its decision. */
  readonly call: string;
  /** The gateway that asks, as `attach` named it. */
  readonly gateway: string;
  readonly agent: string;
  readonly principal: string;
  /** Key of the server in the configuration. */
  readonly server: string;
  /** The tool's own name at that server. */
  readonly tool: string;
  /** Canonical name, `server__tool`. */
  readonly action: string;
  /** SHA-256 (hex) over the tool's definition as the server gave it, in lossless canonical form. */
  readonly definition: string;
  /** `params.arguments` as JSON text, byte for byte as the client wrote it; empty where it was left out. */
  readonly arguments: string;
  /** The same, parsed. For policy and redaction only; never forwarded, never digested. */
  readonly parsed: unknown;
  /** What the client calls itself: its own claim, for conditions. */
  readonly client?: { readonly name: string; readonly version: string };
  /**
   * Not the call but its answer, before the client sees it: `arguments` is `{"result": …}`. Policy asks only the rules for
   * data in results.
   */
  readonly stage?: "result";
}

/** The approval a call waits on, as its caller may see it. */
export interface Waiting {
  readonly id: number;
  readonly status: ApprovalStatus;
  readonly expiresAt: string;
}

/** The answer to an intent. Its record is durable when the caller sees it. */
export interface Verdict {
  /** The call that was asked about; an answer for another call denies. */
  readonly call: string;
  readonly decision: Decision;
  /** The rule that decided, as `file:line list pattern`, or null where a default or the kill switch did. */
  readonly rule: string | null;
  /** A sentence for people and models. */
  readonly reason: string;
  /** Hash of the policy revision in force. */
  readonly revision: string;
  /** Id of the ledger record of this decision. */
  readonly record: number;
  /** ALLOW only: `performance.now()` of this process after which no first byte may be written. */
  readonly leaseUntil?: number;
  /** REVIEW, and an ALLOW that an approval gave. */
  readonly approval?: Waiting;
  /** ALLOW only: the arguments that may be forwarded, where policy changed them; JSON text. */
  readonly arguments?: string;
  /** ALLOW only: what the answer is held against before the client sees it. */
  readonly inspect?: readonly DataRule[];
}

/**
 * How a decided call ended. `ok`: a result; `tool_error`: a result with `isError`; `error`: a JSON-RPC error from the
 * server; `unknown`: bytes were sent and no answer came; `not_forwarded`: allowed, but nothing was sent; `cancelled`:
 * the client withdrew it; `killed`: the agent was killed while it ran; `waiting`: the caller was told to repeat, the
 * approval stays; `refused`: a held call that ended without running.
 */
export type OutcomeKind =
  | "ok"
  | "tool_error"
  | "error"
  | "unknown"
  | "not_forwarded"
  | "cancelled"
  | "killed"
  | "waiting"
  | "refused";

export interface Outcome {
  readonly call: string;
  readonly agent: string;
  readonly principal: string;
  readonly server: string;
  readonly tool: string;
  readonly action: string;
  readonly outcome: OutcomeKind;
  /** Milliseconds from the frame's arrival to its answer. */
  readonly duration: number;
  readonly reason?: string;
  readonly approval?: number;
}

/** Something that is not a decision but belongs in the ledger: a refused frame, a failed login, `--allow-home`. */
export interface Note {
  readonly kind: "refused" | "login_refused" | "gateway" | "server";
  readonly agent?: string;
  readonly principal?: string;
  readonly server?: string;
  readonly action?: string;
  readonly reason: string;
}

export type AgentStatus = "ACTIVE" | "KILLED";

/** What an agent says of itself; it stops nothing. */
export type Lifecycle = "REGISTERED" | "ACTIVE" | "COMPLETED";

export interface Agent {
  readonly name: string;
  readonly status: AgentStatus;
  readonly lifecycle: Lifecycle;
  readonly owner: string;
  readonly createdAt: string;
  /** Who killed it, when and why; null while it is active. */
  readonly killed: { readonly by: string; readonly at: string; readonly reason: string } | null;
  /** Decisions so far. */
  readonly allowed: number;
  readonly blocked: number;
  readonly held: number;
}

export type ApprovalStatus = "pending" | "approved" | "denied" | "expired" | "void" | "consumed";

export interface Approval {
  readonly id: number;
  readonly agent: string;
  readonly principal: string;
  readonly server: string;
  readonly tool: string;
  readonly action: string;
  /** Not about the call but about its answer: the call has run, and `arguments` is `{"result": …}`. */
  readonly stage?: "result";
  /** JSON text: the exact arguments while the approval is open, their redacted form afterwards. */
  readonly arguments: string;
  readonly status: ApprovalStatus;
  readonly rule: string | null;
  readonly reason: string;
  readonly digest: string;
  /** JSON text: what the ledger holds of the arguments. */
  readonly redacted: string;
  readonly requirement: Requirement;
  /** Hash of the policy revision under which it was asked; missing where an older backend asked. */
  readonly revision?: string | null;
  /** Who has approved so far, oldest first. */
  readonly votes: readonly Vote[];
  /** A call is waiting on it right now; false is shown as “caller gone”. */
  readonly waiting: boolean;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly decidedAt: string | null;
  readonly decidedBy: string | null;
  readonly decidedReason: string | null;
}

/** One person's yes, where one or more are asked for. */
export interface Vote {
  readonly by: string;
  readonly at: string;
  readonly reason: string;
  /** What this person would grant beyond the one call, `expires` in milliseconds; left out for nothing. */
  readonly grant?: { readonly uses: number; readonly expires: number };
}

/** How a decision came, and what it is to cover. */
export interface DecisionOptions {
  /** `cli`, if left out. */
  readonly channel?: Channel;
  /** Grants the same to calls like this one, within what the policy offers: its whole terms where these say nothing. */
  readonly grant?: { readonly uses?: number; readonly expires?: number };
}

/** What an approver sees beside the approval itself. */
export interface ApprovalContext {
  /** The tool as its server defined it when the call was held, JSON text; null where nobody has it. */
  readonly definition: string | null;
  /** The newest approval of this agent, action and stage that was used: what it was about, redacted. Null without one. */
  readonly previous: {
    readonly id: number;
    readonly redacted: string;
    readonly decidedBy: string | null;
    readonly decidedAt: string | null;
    /** JSON text; null where nobody has it. */
    readonly definition: string | null;
  } | null;
  /** Ids of the open approvals of the very same call, this one among them: each is decided by itself. */
  readonly alike: readonly number[];
}

/** Calls that an approver has let through ahead of their coming. */
export interface Grant {
  readonly id: number;
  /** The approval it was given with. */
  readonly approval: number;
  readonly agent: string;
  readonly principal: string;
  readonly server: string;
  readonly tool: string;
  readonly action: string;
  /** Patterns by argument; every other argument is as it was approved. */
  readonly arguments: GrantTerms["arguments"];
  readonly uses: number;
  readonly left: number;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly expiresAt: string;
  readonly status: "active" | "used" | "expired" | "revoked" | "void";
}

/** What a server offers an agent, as the gateway sees it. */
export interface Sighting {
  readonly agent: string;
  readonly server: string;
  readonly tools: readonly Offer[];
  /** The server's instructions; null where it gives none. */
  readonly instructions: string | null;
}

export interface Offer {
  readonly name: string;
  /** As in an {@link Intent}. */
  readonly definition: string;
  /** The definition as the server gave it, JSON text. Left out where the backend is believed to have it. */
  readonly text?: string;
}

export interface Sighted {
  /** By tool. Hidden: nobody has accepted it as it is, and policy blocks it until then. */
  readonly tools: ReadonlyArray<{
    readonly name: string;
    readonly state: ToolState;
    readonly hidden: boolean;
  }>;
  /** Definitions that are not known here: the sighting counts for the others, and is repeated with these. */
  readonly missing: readonly string[];
}

export type ToolState = "accepted" | "new" | "added" | "changed";

/** A tool definition, or a server's instructions, as they are pinned for an agent. */
export interface PinnedTool {
  readonly agent: string;
  readonly server: string;
  /** Empty for the server's instructions. */
  readonly tool: string;
  readonly state: ToolState;
  /** Why it may be taken for another tool, in sentences. */
  readonly flags: readonly string[];
  /** SHA-256 (hex) of what the server offers now, and its JSON text. */
  readonly definition: string;
  readonly text: string;
  /** The same of what was accepted, or seen first; null where that is the same. */
  readonly before: { readonly definition: string; readonly text: string } | null;
  readonly seenAt: string;
  readonly changedAt: string;
  readonly acceptedAt: string | null;
  readonly acceptedBy: string | null;
}

/** Which tools: of this agent, of this server, this one. */
export interface ToolFilter {
  readonly agent?: string;
  readonly server?: string;
  readonly tool?: string;
}

/** Which approvals: of this status, and the newest `limit` (all, if left out) with an id smaller than `before`. */
export interface ApprovalFilter {
  readonly status?: ApprovalStatus;
  readonly limit?: number;
  readonly before?: number;
  /** Of one answer: no more come once they are more than this. One comes in any case. */
  readonly bytes?: number;
}

/** A row of the ledger. Members that do not apply to its kind are left out. */
export interface LedgerRecord {
  readonly id: number;
  readonly at: string;
  /** One of the kinds of `ledger/record.ts`. */
  readonly kind: string;
  readonly agent?: string;
  readonly action?: string;
  readonly decision?: string;
  readonly rule?: string | null;
  readonly reason?: string;
  readonly [member: string]: unknown;
}

export interface KillReceipt {
  readonly agent: string;
  /** True where it was already killed: nothing changed. */
  readonly already: boolean;
  /** The gateways that were alive at the kill, and whether each confirmed within the lease. */
  readonly gateways: ReadonlyArray<{
    readonly id: string;
    readonly pid: number;
    readonly confirmed: boolean;
  }>;
  /** Approvals that became void. */
  readonly voided: number;
}

export type Role = "agent" | "approver" | "admin" | "auditor";

/** Whoever a credential stands for. */
export interface Principal {
  readonly name: string;
  readonly role: Role;
  /** The agent a token of role `agent` is bound to. */
  readonly agent: string | null;
  readonly groups: readonly string[];
  /** Id of the token that proved it; null for `os:<user>`, and for a principal that an OIDC issuer vouches for. */
  readonly token: number | null;
  /** What it declares about an agent may also allow (`policy.md`, “declares”). */
  readonly trustDeclared?: boolean;
}

export interface Token {
  readonly id: number;
  readonly name: string;
  readonly role: Role;
  readonly agent: string | null;
  readonly groups: readonly string[];
  readonly trustDeclared: boolean;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
}

export interface NewToken {
  readonly name: string;
  readonly role: Role;
  /** A token of role agent without one may speak for any agent: that of a gateway which serves many. */
  readonly agent?: string;
  readonly groups?: readonly string[];
  /** Role agent: what it declares may also allow. */
  readonly trustDeclared?: boolean;
  /** Milliseconds from now; never, if left out. */
  readonly expires?: number;
}

/** What a live gateway hears, whichever process caused it. */
export type BackendEvent =
  | { readonly kind: "kill"; readonly agent: string }
  | { readonly kind: "revive"; readonly agent: string }
  | { readonly kind: "approval"; readonly id: number; readonly status: ApprovalStatus }
  /** The token was revoked. */
  | { readonly kind: "token"; readonly id: number }
  /** Another policy revision is in force. */
  | { readonly kind: "policy"; readonly revision: string }
  /** What is known of the tools of a server has changed, or was accepted. */
  | { readonly kind: "tools"; readonly agent: string }
  /** Some were missed, and nobody has them any more: whoever keeps a state reads it anew. */
  | { readonly kind: "resync" };

/** May be asynchronous: a kill is confirmed only after every listener has finished. */
export type EventListener = (event: BackendEvent) => void | Promise<void>;

export interface VerifyReport {
  readonly ok: boolean;
  readonly records: number;
  /** Hash of the newest record (hex); empty for an empty ledger. */
  readonly head: string;
  /** The first record that does not hold, and why. */
  readonly broken: { readonly id: number; readonly reason: string } | null;
  /** Calls that were allowed and have no outcome yet: running now, or their gateway died. */
  readonly open: number;
  /** What the records were held against beside themselves; missing where an older backend verified. */
  readonly evidence?: Evidence;
}

/** The names of its members are those of the wire. */
export interface Evidence {
  /** Number of the first record that was checked: later than 1 where older ones are in segments that were not given. */
  readonly first: number;
  /** Signed checkpoints that were checked. */
  readonly checkpoints: number;
  /** Number of the newest record that a signature covers; 0 for none. */
  readonly signed: number;
  /** Ids of the keys that signed. */
  readonly keys: readonly string[];
  /** The anchors, and how many checkpoints the ledger has that are not in them yet; null where none was compared. */
  readonly anchors: ReadonlyArray<{
    readonly name: string;
    readonly checkpoints: number;
    readonly behind: number;
  }> | null;
  /** What could not be checked, in sentences. */
  readonly notes: readonly string[];
}

/** Which records. `kinds`: only of these; `before`: the newest `limit` with a smaller id. */
export interface RecordFilter {
  readonly agent?: string;
  readonly kinds?: readonly string[];
  readonly limit: number;
  readonly after?: number;
  readonly before?: number;
}

export interface GatewayInfo {
  readonly pid: number;
  /** What people call it in `status`: `wrap files`, `gateway /etc/aegis.yaml`. */
  readonly label: string;
  readonly address: string | null;
}

export interface Backend {
  /** For people: which backend this is and where. */
  readonly description: string;

  // The decision plane: what a gateway asks.

  /**
   * Registers this process as a live gateway and starts its heartbeat; its id prefixes the ids of its calls.
   *
   * @param renamed told of another id for the calls from then on: the backend came late, or had forgotten this gateway
   */
  attach(info: GatewayInfo, renamed?: (id: string) => void): Promise<string>;
  /** Creates the agent where it is unknown; never changes its status. */
  ensureAgent(name: string): Promise<void>;
  /** Decides and records. A REVIEW opens an approval, or attaches to one (`policy.md`, “A repeat”). */
  decide(intent: Intent): Promise<Verdict>;
  /**
   * Asks again under the state of this moment and records it: with an approval at the release of a hold (consumes it),
   * without one when a lease ran out before the first byte.
   */
  release(intent: Intent, approval: number | null): Promise<Verdict>;
  /** A server's tools were read: pins what is new, and says what became of each. Durable when it resolves. */
  sight(sighting: Sighting): Promise<Sighted>;
  /** The caller of a held call is gone; the approval stays. */
  detachWaiter(approval: number, call: string): Promise<void>;
  /**
   * The form in the client that made this call was accepted: approves the call that waits on it, where the policy lists
   * the channel `client`. Nobody knows who answered, so that it counts for no quorum, no group and no stated reason.
   *
   * @throws AegisError `not_permitted`, `approval_settled`, `unknown_approval`
   */
  answerInClient(approval: number, call: string): Promise<void>;
  /** Queued, and durable with the next commit; a failure is logged, never thrown into the call it ends. */
  outcome(outcome: Outcome): void;
  note(note: Note): Promise<void>;
  /** Told too of what was missed while the backend could not be heard. */
  subscribe(listener: EventListener): () => void;
  /** The principal of a token, or null where it is unknown, expired or revoked. */
  authenticate(token: string): Promise<Principal | null>;

  // What people ask. `by` is the acting principal.

  agents(): Promise<readonly Agent[]>;
  kill(agent: string, by: Principal, reason: string): Promise<KillReceipt>;
  revive(agent: string, by: Principal, reason: string): Promise<void>;
  gateways(): Promise<ReadonlyArray<GatewayInfo & { readonly id: string; readonly startedAt: string }>>;
  /** Oldest first. */
  approvals(filter: ApprovalFilter): Promise<readonly Approval[]>;
  approval(id: number): Promise<Approval>;
  /** One compare-and-set; the second decider gets `approval_settled`, naming the first. */
  decideApproval(
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    reason: string,
    options?: DecisionOptions,
  ): Promise<Approval>;
  approvalContext(id: number): Promise<ApprovalContext>;
  /** Newest first: those that are active, and with `all` also those that ended. */
  grants(all: boolean): Promise<readonly Grant[]>;
  revokeGrant(id: number, by: Principal, reason: string): Promise<void>;
  /** By agent, server and tool. */
  pinnedTools(filter: ToolFilter): Promise<readonly PinnedTool[]>;
  /**
   * Accepts what is offered now. @param definitions what the person saw: anything else is left as it is
   *
   * @returns those that are accepted by this
   */
  acceptTools(
    filter: ToolFilter,
    definitions: readonly string[],
    by: Principal,
  ): Promise<readonly PinnedTool[]>;
  /** The newest `limit`, oldest of them first; with `after`, the first `limit` behind that id. */
  records(filter: RecordFilter): Promise<readonly LedgerRecord[]>;
  verify(): Promise<VerifyReport>;
  createToken(token: NewToken, by: Principal): Promise<{ readonly id: number; readonly token: string }>;
  tokens(): Promise<readonly Token[]>;
  revokeToken(id: number, by: Principal): Promise<void>;

  /** Writes what is queued, says good-bye, closes the store. */
  close(): Promise<void>;
}
