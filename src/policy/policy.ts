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
  /** REVIEW only: milliseconds until an approval nobody decided expires. */
  readonly expires?: number;
}

export interface PolicyFile {
  readonly file: string;
  /** A name or a pattern: the agents the file speaks of. */
  readonly agent: string;
  readonly owner: string | null;
  /** Null where the file states none. */
  readonly default: List | null;
  readonly rules: readonly Rule[];
}

/** All files that were loaded together. Immutable: a change of policy is another set. */
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
}

export interface PolicyDecision {
  readonly decision: "ALLOW" | "BLOCK" | "REVIEW";
  /** The rule that decided, as `file.yaml:12 allow files__*`; null where a default did. */
  readonly rule: string | null;
  /** A sentence for people and models. */
  readonly reason: string;
  /** REVIEW only: the shortest expiry of the matching review rules, in milliseconds. */
  readonly expires?: number;
}
