/** By which way an approval is decided. */
export const channels = [
  /** `aegis approve` and `aegis deny`, and the API they speak. */
  "cli",
  /** A page of the backend, after signing in. */
  "page",
  /** A form in the MCP client itself: only where the policy lists it, since nobody knows who answers there. */
  "client",
] as const;

export type Channel = (typeof channels)[number];

/** What holds where no rule says. */
export const usualChannels: readonly Channel[] = ["cli", "page"];

/** What deciding one approval takes: all matching review rules together, each of which must be content. */
export interface Requirement {
  /** For each rule that names approvers: its groups. Who approves is in one group of every list. */
  readonly approvers: ReadonlyArray<readonly string[]>;
  /** Distinct people who must approve; one who denies ends it. */
  readonly quorum: number;
  /** An approval without a reason does not count. */
  readonly reason: boolean;
  readonly channels: readonly Channel[];
  /** What an approver may grant beyond this one call; null where the policy offers nothing. */
  readonly grant: GrantTerms | null;
}

/** What a rule lets an approver grant: at most this. */
export interface GrantTerms {
  readonly uses: number;
  /** Milliseconds. */
  readonly expires: number;
  /**
   * Patterns (`*` is any run of characters) by the name of the argument: text that matches may differ from what was
   * approved. Every other argument must be the same.
   */
  readonly arguments: Readonly<Record<string, string>>;
}

export const noRequirement: Requirement = {
  approvers: [],
  quorum: 1,
  reason: false,
  channels: usualChannels,
  grant: null,
};
