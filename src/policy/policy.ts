import type { DataRule } from "../data/rules.js";
import type { Channel, GrantTerms, Requirement } from "../requirement.js";

/** The lists of a policy file, in the order of their strength: a rule of an earlier one wins. */
export const lists = ["block", "review", "allow"] as const;

export type List = (typeof lists)[number];

/** One entry of a list. */
export interface Rule {
  readonly list: List;
  /** As written. With `__` it speaks of the whole action, without it of the tool's own name. */
  readonly pattern: string;
  /** The operator's sentence; null where there is none. */
  readonly reason: string | null;
  /** The file as it was named to the loader. */
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** CEL, as written: false means the rule is not there, an error denies the call. */
  readonly when?: string;
  /** Decides and is recorded, but is not enforced. */
  readonly shadow?: true;
  /** REVIEW only. */
  readonly approval?: ApprovalTerms;
}

/** What one review rule says of its approvals; what it leaves out it does not ask for. */
export interface ApprovalTerms {
  /** Groups: an approver is in one of them. */
  readonly approvers?: readonly string[];
  readonly quorum?: number;
  readonly reason?: true;
  /** Milliseconds until an approval nobody decided expires. */
  readonly expires?: number;
  readonly channels?: readonly Channel[];
  readonly grant?: GrantTerms;
}

/** One entry of `limits`: how many calls of matching actions, taken together, an agent may make. */
export interface Limit {
  readonly pattern: string;
  /** Calls that were let through in a window of `per` milliseconds; or calls that run at the same time. */
  readonly of: { readonly calls: number; readonly per: number } | { readonly concurrent: number };
  readonly reason: string | null;
  readonly file: string;
  readonly line: number;
  readonly shadow?: true;
}

/** One entry of `servers`: where URLs in arguments may lead. */
export interface HostRule {
  readonly list: "allow" | "block";
  /** Of a host name without its final dot, lower case; `*` is any run of characters. */
  readonly host: string;
  /** The actions it speaks of; `*` for all. */
  readonly pattern: string;
  readonly reason: string | null;
  readonly file: string;
  readonly line: number;
  readonly shadow?: true;
}

/** One entry of `data`. */
export interface PlacedDataRule extends DataRule {
  /** The actions it speaks of; `*` for all. */
  readonly action: string;
  readonly in: ReadonlyArray<"arguments" | "results">;
  readonly file: string;
  readonly line: number;
  readonly shadow?: true;
}

export interface PolicyFile {
  readonly file: string;
  /** A name or a pattern: the agents the file speaks of. */
  readonly agent: string;
  readonly owner: string | null;
  /** Null where the file states none. */
  readonly default: List | null;
  readonly rules: readonly Rule[];
  readonly limits: readonly Limit[];
  readonly hosts: readonly HostRule[];
  readonly data: readonly PlacedDataRule[];
  /** What happens to calls of tools that nobody has accepted as they are now; null where the file states none. */
  readonly onChange: List | null;
  /** The whole file decides and is recorded, but is not enforced: its entries say so too. */
  readonly shadow?: true;
}

/** All files that were loaded together. Immutable: a change of policy is another set. Plain data: it travels to threads. */
export interface PolicySet {
  /** SHA-256 (hex) over everything in the files that a decision can depend on or name. */
  readonly revision: string;
  readonly files: readonly PolicyFile[];
}

export interface Question {
  readonly agent: string;
  /** Key of the server in the configuration. */
  readonly server: string;
  /** The tool's own name. */
  readonly tool: string;
  /** Canonical name, `server__tool`. */
  readonly action: string;
  /** Parsed arguments, as `conditionArguments` gives them; none, if left out. */
  readonly args?: unknown;
  /**
   * What the rules of `dataRulesFor` found in the arguments as they came, before any was redacted. Left out: `args` are
   * looked through.
   */
  readonly found?: readonly DataRule[];
  /** What the client calls itself: its own claim. */
  readonly client?: { readonly name: string; readonly version: string };
  /** Left out: an accepted tool that claims nothing. */
  readonly known?: ToolFacts;
  /** Milliseconds since the epoch. */
  readonly now?: number;
  /** By {@link countKey}: those that `countsNeeded` names. One that is missing is an error, which denies. */
  readonly counts?: ReadonlyMap<string, number>;
}

/** What is known of a tool beside its name. */
export interface ToolFacts {
  /**
   * `accepted`: a person accepted the definition as it is now. `new`: it was there when its server was first seen.
   * `added`: it came to a server that was known. `changed`: its definition, or its server's instructions, are not those
   * that were seen first or accepted.
   */
  readonly state: "accepted" | "new" | "added" | "changed";
  /** Why it may be taken for another tool, as a sentence without its full stop; null where it can not, or was accepted so. */
  readonly suspicious: string | null;
  /** Its annotations: the server's own claims. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/** A count that the rules of an agent depend on. */
export interface CountKey {
  /** Of the actions that are counted together. */
  readonly pattern: string;
  /** Milliseconds of the window; null for the calls that run at this moment. */
  readonly window: number | null;
}

export function countKey({ pattern, window }: CountKey): string {
  return `${window ?? "running"} ${pattern}`;
}

export interface PolicyDecision {
  readonly decision: "ALLOW" | "BLOCK" | "REVIEW";
  /** The rule that decided, as `file.yaml:12 allow files__*`; null where a default did. */
  readonly rule: string | null;
  /** A sentence for people and models. */
  readonly reason: string;
  /** REVIEW only: the shortest expiry of the matching review rules, in milliseconds. */
  readonly expires?: number;
  /** REVIEW only: what deciding it takes, where a rule asks for more than one person with the role. */
  readonly requirement?: Requirement;
  /** A limit refused: the same call may be let through later, and an approval for it stays. */
  readonly passing?: true;
  /** A condition could not be evaluated: the record says so. */
  readonly error?: true;
  /** What would have been decided if the rules in shadow counted, where that differs. */
  readonly shadow?: { readonly decision: "ALLOW" | "BLOCK" | "REVIEW"; readonly rule: string | null };
}
