import type { ToolState } from "../../client/backend.js";
import { flagsOf, type PinRow } from "./row.js";

/** The name of the row that stands for a server's instructions. */
export const instructions = "";

/**
 * What a decision goes by. One that was never seen came to a server that is known, or with a new one. Instructions speak
 * to the model of every tool: where they changed, each of them did.
 *
 * @param rows of the agent and the server, by tool
 * @param definition of the tool that would be called
 */
export function effectiveState(
  rows: ReadonlyMap<string, PinRow>,
  tool: string,
  definition: string,
): ToolState {
  const row = rows.get(tool);
  if (rows.get(instructions)?.state === "changed") return "changed";
  if (row === undefined) return rows.size === 0 ? "new" : "added";
  return row.seen === definition && flagsOf(row).ambiguous !== true ? row.state : "changed";
}

/**
 * Which pinning of the tool, and of what its server says of all of them, a call is about. Of one definition it never
 * falls, and stays the same as long as no other was seen: two calls with one definition and one version were not
 * separated by a change, there and back again included.
 *
 * Another session of the agent may have been shown another definition last: a call is then about the pinning that its own
 * will have once it is seen. That very sighting, as it comes ahead of a release, is no change to this call.
 */
export function versionOf(rows: ReadonlyMap<string, PinRow>, tool: string, definition: string): number {
  const row = rows.get(tool);
  const own = row?.seen === definition ? row.version : (row?.version ?? 0) + 1;
  return own + (rows.get(instructions)?.version ?? 1);
}

/** Why the tool may be taken for another, or null. */
export function suspicionOf(rows: ReadonlyMap<string, PinRow>, tool: string): string | null {
  const row = rows.get(tool);
  const said = rows.get(instructions);
  const reasons = [
    ...(row === undefined ? [] : flagsOf(row).reasons),
    ...(said === undefined ? [] : flagsOf(said).reasons),
  ];
  return reasons.length === 0 ? null : reasons.join("; ");
}
