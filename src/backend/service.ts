import type {
  Agent,
  Approval,
  ApprovalStatus,
  Backend,
  BackendEvent,
  GatewayInfo,
  Lifecycle,
  Outcome,
  Principal,
} from "../client/backend.js";
import type { PolicySet } from "../policy/policy.js";
import type { ExportQuery } from "./ledger/export.js";
import type { Session } from "./sessions.js";

/** A gateway on the other side of the API, which keeps itself alive by `beat`. */
export interface RemoteGateway extends GatewayInfo {
  /** The machine it says it runs on. */
  readonly host: string;
}

/** Something for gateways, with its number: they confirm up to it. */
export interface NumberedEvent {
  readonly number: number;
  readonly event: BackendEvent;
}

export type RuleType = "ALLOW" | "BLOCK" | "REVIEW";

/** What an agent's own code says its policy is (`policy.md`, “declares”). */
export interface Declaration {
  readonly agent: string;
  readonly action: string;
  readonly rule: RuleType;
  /** Declared with a token made with `--trust-declared`, or by an admin: an ALLOW counts. */
  readonly trusted: boolean;
}

/** Of an action, what would be decided; of a pattern, what its rule says. */
export interface ActionRule {
  readonly action: string;
  readonly rule: RuleType;
}

/** Something an agent's own code reports: it ran in the agent's process, and nothing but its word vouches for it. */
export interface Report {
  readonly agent: string;
  readonly action: string;
  /** `ALLOWED`, `THOUGHT`, …: free-form, as the SDK sends it. */
  readonly status: string;
  readonly details: string;
}

/** One policy file as it was published. */
export interface PolicyDocument {
  readonly name: string;
  readonly text: string;
}

export interface PolicyRevision {
  /** SHA-256 (hex); what records name. */
  readonly revision: string;
  readonly publishedAt: string;
  readonly publishedBy: string;
  readonly documents: readonly PolicyDocument[];
}

/** How many reports there are of an agent. */
export interface Reported {
  readonly agent: string;
  readonly total: number;
  /** Those that say `ALLOWED`, and those that say `BLOCKED`. */
  readonly allowed: number;
  readonly blocked: number;
}

export interface Stats {
  readonly agents: number;
  readonly activeAgents: number;
  /** Of the last 24 hours. */
  readonly blocks: number;
  readonly pendingApprovals: number;
}

/**
 * What the HTTP API asks of the backend: all that gateways and people ask, and what only exists on the wire. Whether the
 * caller may is checked at the door (`http/`) and, for what people do, here again.
 */
export interface Service extends Backend {
  // Gateways on other machines. A gateway is that of the principal who enlisted it: its id begins the ids of its calls,
  // which its clients see, and whoever could confirm a kill in its place would undo invariant 4. To anybody else it is
  // as if it did not exist.

  /** Registers it; returns the id that begins the ids of its calls, and the newest event it need not hear of. */
  enlist(gateway: RemoteGateway, by: Principal): Promise<{ readonly id: string; readonly event: number }>;
  /**
   * A sign of life. `mark`: the ledger up to this record has no call of the gateway that is still open.
   *
   * @returns false where it is not known (any more), or another's: it enlists again
   */
  beat(gateway: string, mark: number, by: Principal): Promise<boolean>;
  /** Its listeners have finished with every event up to this one. */
  heard(gateway: string, event: number, by: Principal): Promise<void>;
  /** It says good-bye. */
  dismiss(gateway: string, by: Principal): Promise<void>;
  /**
   * How calls ended, as their gateway says; durable when it resolves. What is no call of that agent and principal, or
   * has ended already, changes nothing.
   */
  conclude(outcomes: readonly Outcome[]): Promise<void>;
  /** Number of the newest event; 0 where there was none. */
  newestEvent(): Promise<number>;
  /** Events behind this number, oldest first; null where some of them are forgotten already. */
  eventsAfter(event: number): Promise<readonly NumberedEvent[] | null>;

  // The SDK's agents, which govern themselves.

  /** Creates the agent, or changes its owner; never its status. */
  register(agent: string, owner: string): Promise<void>;
  setLifecycle(agent: string, lifecycle: Lifecycle, by: Principal): Promise<void>;
  declare(declaration: Declaration, by: Principal): Promise<void>;
  declarations(agent: string): Promise<readonly Declaration[]>;
  /** What policy says of an action of an agent; null where no rule matches and no default is stated. Recorded nowhere. */
  ruleOf(agent: string, action: string): Promise<RuleType | null>;
  /** Everything that policy says about an agent, by name. */
  rulesOf(agent: string): Promise<readonly ActionRule[]>;
  /** Opens an approval nobody waits on: its agent asks for it by number. Returns the number. */
  requestApproval(agent: string, action: string, args: string, by: Principal): Promise<number>;
  /**
   * What has become of an approval. An approved one is used up by the answer, where it is given to whoever asked for it.
   * Null where there is none, or it is another's.
   */
  pollApproval(id: number, by: Principal): Promise<ApprovalStatus | null>;
  /** The newest one that is open or was decided, whatever the arguments were; null where there is none. */
  latestApproval(agent: string, action: string): Promise<Approval | null>;
  /** Returns the id of its record. */
  report(report: Report, by: Principal): Promise<number>;
  reported(): Promise<readonly Reported[]>;
  /** Null where the agent is not known. */
  agent(name: string): Promise<Agent | null>;

  // People on pages.

  /**
   * Signs in whoever proved a token, and ends the session there was before.
   *
   * @returns what the cookie holds: told once, stored nowhere
   */
  openSession(by: Principal, before: string | null): Promise<string>;
  /** Whose it is; null where there is none, it has ended, or its token has. */
  session(id: string): Promise<Session | null>;
  endSession(id: string): Promise<void>;

  // Policies in the store.

  /** The revision in force; null before the first one was published. */
  policy(): Promise<PolicyRevision | null>;
  /** Newest first, without their documents. */
  revisions(): Promise<ReadonlyArray<Omit<PolicyRevision, "documents">>>;
  /**
   * Puts these documents in force for every process on the store. The same documents again change nothing.
   *
   * @throws AegisError `policy_invalid`
   */
  publish(documents: readonly PolicyDocument[], by: Principal): Promise<PolicyRevision>;
  /**
   * Puts another set in the place of the one that this process, an embedded gateway, was opened with: whole, between two
   * decisions, and recorded.
   *
   * @throws AegisError `backend_unsupported` where what is published in the store is in force
   */
  adoptPolicies(policies: PolicySet, by: Principal): Promise<void>;
  /** Records that a change of the policies was refused, and why. What was in force stays. */
  recordRefusedPolicies(reason: string, by: Principal): Promise<void>;

  // The ledger, for auditors.

  /** PEM (SPKI) of the Ed25519 key that signs the checkpoints. */
  publicKey(): Promise<string>;
  /** Records that somebody takes these records out (threat L19), and signs the ledger up to there. */
  recordExport(query: ExportQuery, by: Principal): Promise<void>;

  stats(): Promise<Stats>;
  /** Id of the newest record; 0 for an empty ledger. Cheap: asked many times a second. */
  newestRecord(): Promise<number>;
}
