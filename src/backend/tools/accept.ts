import type { PinnedTool, Principal, ToolFilter } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { visible } from "../../visible.js";
import type { Batch } from "../batch.js";
import { recordName } from "../ledger/redact.js";
import { instructions } from "./effect.js";
import { accept } from "./pin.js";
import { describePin, flagsOf, noInstructionsHash, type PinRow } from "./row.js";
import type { ToolTable } from "./table.js";
import type { ToolPins } from "./tool-pins.js";

/** What servers offer now, by agent, server and tool; what they do not offer any more is left out. */
export async function pinnedTools(table: ToolTable, filter: ToolFilter): Promise<PinnedTool[]> {
  const rows = (await table.find(filter)).filter(isOffered);
  const texts = await table.textsOf(rows.flatMap(({ pinned, seen }) => [pinned, seen]));
  return rows.map((row) => describePin(row, texts));
}

/** No instructions where there were none are nothing to look at. */
function isOffered(row: PinRow): boolean {
  if (row.tool === instructions && row.state !== "changed") return row.seen !== noInstructionsHash;
  return flagsOf(row).gone !== true;
}

/**
 * Accepts what is offered now, as far as the person has seen exactly that.
 *
 * @returns those that are accepted by this
 * @throws AegisError `unknown_tool` where nothing of the kind was ever seen
 */
export async function acceptTools(
  batch: Batch,
  { writer: table }: ToolPins,
  filter: ToolFilter,
  definitions: readonly string[],
  by: Principal,
): Promise<PinnedTool[]> {
  const rows = await table.find(filter);
  if (rows.length === 0) throw unknownTool(filter);
  const shown = new Set(definitions);
  const accepted = rows.flatMap((row) => {
    const next = shown.has(row.seen) && isOffered(row) ? accept(row, by.name, batch.now) : null;
    return next === null ? [] : [{ row: next, before: row.pinned }];
  });
  if (accepted.length === 0) return [];
  await batch.changeTools();
  for (const { row } of accepted) {
    await table.put(row);
    const { agent, server, tool, seen } = row;
    const what = tool === instructions ? "instructions" : "tool";
    batch.records.append({
      kind: "tool",
      agent,
      principal: by.name,
      server: recordName(server),
      ...(tool === instructions ? {} : { tool: recordName(tool), action: recordName(`${server}__${tool}`) }),
      definition: seen,
      status: "accepted",
      reason: `${by.name} accepted the ${what} as it is.`,
    });
  }
  await table.forget(accepted.map(({ before }) => before));
  for (const agent of new Set(accepted.map(({ row }) => row.agent)))
    await batch.emit({ kind: "tools", agent });
  const texts = await table.textsOf(accepted.map(({ row }) => row.seen));
  return accepted.map(({ row }) => describePin(row, texts));
}

export function unknownTool({ agent, server, tool }: ToolFilter): AegisError {
  const of = [
    tool === undefined ? "No tool" : `No tool "${visible(tool)}"`,
    ...(server === undefined ? [] : [`of the server "${visible(server)}"`]),
    ...(agent === undefined ? [] : [`was shown to the agent "${visible(agent)}"`]),
  ];
  const end = agent === undefined ? " was ever seen by this backend." : " yet.";
  return new AegisError("unknown_tool", of.join(" ") + end, { hint: "List them: aegis tools" });
}
