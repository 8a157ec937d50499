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
