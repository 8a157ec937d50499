import { hash } from "node:crypto";
import type { PinnedTool, ToolState } from "../../client/backend.js";
import { isoTime } from "../time.js";

/** A row of the table `tools`: what is pinned of one tool, for one agent. */
export interface PinRow {
  readonly agent: string;
  readonly server: string;
  /** Empty for the server's instructions. */
  readonly tool: string;
  readonly state: ToolState;
  readonly pinned: string;
  readonly seen: string;
  readonly version: number;
  readonly flags: string;
  readonly seen_at: number;
  readonly changed_at: number;
  readonly accepted_at: number | null;
  readonly accepted_by: string | null;
}

/** What stands in the column `flags`. */
export interface Flags {
  /** Why it may be taken for another tool: sentences without their full stop. */
  readonly reasons: readonly string[];
  /** The server did not list it when its list was read last. */
  readonly gone?: true;
  /** One list defines it more than once, and not the same each time: nobody can accept that. */
  readonly ambiguous?: true;
}

export const noFlags: Flags = { reasons: [] };

export function flagsOf({ flags }: Pick<PinRow, "flags">): Flags {
  return flags === "" ? noFlags : (JSON.parse(flags) as Flags);
}

/** The definition of a server's instructions where it gives none. */
export const noInstructionsHash = hash("sha256", "null");

/** @param texts by hash */
export function describePin(row: PinRow, texts: ReadonlyMap<string, string>): PinnedTool {
  return {
    agent: row.agent,
    server: row.server,
    tool: row.tool,
    state: row.state,
    flags: flagsOf(row).reasons.map((reason) => `${reason}.`),
    definition: row.seen,
    text: texts.get(row.seen) ?? "",
    before: row.pinned === row.seen ? null : { definition: row.pinned, text: texts.get(row.pinned) ?? "" },
    seenAt: isoTime(row.seen_at),
    changedAt: isoTime(row.changed_at),
    acceptedAt: row.accepted_at === null ? null : isoTime(row.accepted_at),
    acceptedBy: row.accepted_by,
  };
}
