import type { ToolState } from "../../client/backend.js";
import { listedTwice } from "./reasons.js";
import { type Flags, flagsOf, type PinRow } from "./row.js";

/** What one look at a server's list says of a tool, or of its instructions. */
export interface Seen {
  readonly tool: string;
  readonly definition: string;
  /** The list has it more than once, with different definitions. */
  readonly ambiguous: boolean;
}

/** What a look has changed. `again`: it was not offered for a while, and is as it was. */
export type Change = "pinned" | "added" | "changed" | "again" | "gone";

export interface Pinning {
  readonly row: PinRow;
  readonly change: Change;
}

export interface Look {
  readonly agent: string;
  readonly server: string;
  /** The server was seen before. */
  readonly known: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/**
 * The next row of a tool, or null where nothing has changed. A change stays one until somebody accepts it: there and
 * back again are two, and in between the model may have read anything.
 *
 * @param before null where it was never seen
 * @param reasons of the new definition; asked only where that is another
 */
export function pin(
  before: PinRow | null,
  seen: Seen,
  { agent, server, known, now }: Look,
  reasons: () => readonly string[],
): Pinning | null {
  const flags = before === null ? null : flagsOf(before);
  const same =
    before !== null && before.seen === seen.definition && (flags?.ambiguous === true) === seen.ambiguous;
  if (before !== null && same) {
    if (flags?.gone !== true) return null;
    const { gone: _, ...others } = flags;
    const row = { ...before, version: before.version + 1, changed_at: now, flags: JSON.stringify(others) };
    return { row, change: "again" };
  }
  const next: Flags = seen.ambiguous
    ? { reasons: [...reasons(), listedTwice], ambiguous: true }
    : { reasons: reasons() };
  const written = { seen: seen.definition, flags: JSON.stringify(next), changed_at: now };
  if (before !== null) {
    return {
      row: { ...before, ...written, state: "changed", version: before.version + 1 },
      change: "changed",
    };
  }
  const first: ToolState = known ? "added" : "new";
  const row: PinRow = {
    agent,
    server,
    tool: seen.tool,
    state: seen.ambiguous ? "changed" : first,
    pinned: seen.definition,
    version: 1,
    seen_at: now,
    accepted_at: null,
    accepted_by: null,
    ...written,
  };
  return { row, change: known ? "added" : "pinned" };
}

/** A tool that the list does not hold any more; null where that was known. What it was stays pinned. */
export function lose(before: PinRow): Pinning | null {
  const flags = flagsOf(before);
  if (flags.gone === true) return null;
  return { row: { ...before, flags: JSON.stringify({ ...flags, gone: true }) }, change: "gone" };
}

/** Somebody has read what is offered now and says that it is good; null where that is nothing new. */
export function accept(before: PinRow, by: string, now: number): PinRow | null {
  const flags = flagsOf(before);
  if (flags.ambiguous === true) return null;
  if (before.state === "accepted" && flags.reasons.length === 0) return null;
  return {
    ...before,
    state: "accepted",
    pinned: before.seen,
    flags: JSON.stringify({ ...flags, reasons: [] }),
    accepted_at: now,
    accepted_by: by,
  };
}
