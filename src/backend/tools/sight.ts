import type { Sighted, Sighting } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { hiddenUntilAccepted } from "../../policy/on-change.js";
import type { PolicySet } from "../../policy/policy.js";
import { visible } from "../../visible.js";
import type { Batch } from "../batch.js";
import { recordName, redactText } from "../ledger/redact.js";
import type { PolicySource } from "../policies.js";
import type { GroupCommit } from "../store/commit.js";
import { patiently } from "../store/patience.js";
import type { Store } from "../store/store.js";
import { effectiveState, instructions } from "./effect.js";
import { imitated, isDisguised, skeleton } from "./look-alikes.js";
import { lose, type Pinning, pin } from "./pin.js";
import { type Looked, readSighting } from "./read-sighting.js";
import { imitation, Neighbours, reasonsOf, resemblance } from "./reasons.js";
import { flagsOf, type PinRow } from "./row.js";
import type { ToolPins } from "./tool-pins.js";

/** Servers of one agent: whoever invents more fills the store, and makes each look at them slower. */
export const mostServers = 200;

/** Records of one kind that one look writes; of more than these it is said how many there were. */
const RECORDED = 50;

export interface SightParts {
  readonly store: Store;
  readonly commit: GroupCommit<Batch>;
  readonly tools: ToolPins;
  readonly policies: PolicySource;
}

type Rows = ReadonlyMap<string, PinRow>;

/**
 * Pins what a server offers an agent. Where nothing is new, nothing is written. A server is first seen whole: as long as
 * definitions of it are missing it is not known, so that none of its tools counts as added later.
 *
 * @throws AegisError `usage`
 */
export async function sight(parts: SightParts, sighting: Sighting): Promise<Sighted> {
  const { store, commit, tools, policies } = parts;
  const looked = readSighting(sighting);
  const { agent, server } = looked;
  const settled = await patiently(store, async () => {
    const rows = byTool(await tools.reader.rowsOf(agent, server));
    return isSettled(rows, looked)
      ? answer(await policies.committed(await tools.revision()), rows, looked, [])
      : null;
  });
  if (settled !== null) return settled;
  return commit.write(async (batch) => {
    const { rows, missing } = await look(batch, tools, looked);
    return answer(await policies.inForce(batch), rows, looked, missing);
  });
}

function byTool(rows: readonly PinRow[]): Map<string, PinRow> {
  return new Map(rows.map((row) => [row.tool, row]));
}

function isSettled(rows: Rows, { seen }: Looked): boolean {
  for (const each of seen.values()) {
    const row = rows.get(each.tool);
    if (row === undefined || pin(row, each, noLook, () => []) !== null) return false;
  }
  return [...rows.values()].every((row) => seen.has(row.tool) || flagsOf(row).gone === true);
}

const noLook = { agent: "", server: "", known: true, now: 0 };

async function look(
  batch: Batch,
  { writer: table }: ToolPins,
  { agent, server, seen, texts: given }: Looked,
): Promise<{ rows: Rows; missing: string[] }> {
  const rows = byTool(await table.rowsOf(agent, server));
  const known = rows.size > 0;
  if (!known && (await table.serversOf(agent)) >= mostServers) throw tooMany(agent);
  const at = { agent, server, known, now: batch.now };
  const news = [...seen.values()].filter(
    (each) => pin(rows.get(each.tool) ?? null, each, at, () => []) !== null,
  );
  const texts = await table.textsOf(news.map(({ definition }) => definition));
  for (const [hash, text] of given) {
    if (texts.has(hash)) continue;
    texts.set(hash, text);
    await table.putText(hash, text);
  }
  const missing = [...new Set(news.map(({ definition }) => definition))].filter((hash) => !texts.has(hash));
  if (!known && missing.length > 0) return { rows, missing };
  const others = await table.rowsBeside(agent, server);
  const neighbours = new Neighbours(others);
  const pinnings: Pinning[] = [];
  const forgotten: string[] = [];
  for (const each of news) {
    const before = rows.get(each.tool) ?? null;
    const text = texts.get(each.definition);
    if (text === undefined) continue;
    const pinned = pin(before, each, at, () => reasonsOf(each.tool, text, neighbours));
    if (pinned === null) continue;
    pinnings.push(pinned);
    if (before !== null && before.seen !== each.definition) forgotten.push(before.seen);
  }
  for (const row of rows.values()) {
    const lost = seen.has(row.tool) ? null : lose(row);
    if (lost !== null) pinnings.push(lost);
  }
  if (pinnings.length === 0) return { rows, missing };
  await batch.changeTools();
  for (const { row } of pinnings) await table.put(row);
  await table.forget(forgotten);
  const came = pinnings.filter(({ change }) => change === "pinned" || change === "added");
  const mistaken = [
    ...(known ? [] : imitationsOf(server, others)),
    ...disguisesOf(
      server,
      came.map(({ row }) => row.tool),
      others,
    ),
  ];
  await flagEarlier(batch, table, agent, mistaken);
  const changed = pinnings.some(({ row, change }) => {
    const before = rows.get(row.tool)?.state;
    return change === "changed" && before !== "changed";
  });
  if (changed) await batch.emit({ kind: "tools", agent });
  record(batch, agent, server, pinnings);
  for (const { row } of pinnings) rows.set(row.tool, row);
  return { rows, missing };
}

/** What is said of a tool that was seen before. */
interface Mistaken {
  readonly server: string;
  readonly tool: string;
  readonly reason: string;
}

type Others = Awaited<ReturnType<ToolPins["writer"]["rowsBeside"]>>;

/** Tools of other servers that were seen before this one, whose name looks like one of its own. */
function imitationsOf(server: string, others: Others): Mistaken[] {
  const looks = skeleton(server);
  return others.flatMap((row) =>
    row.state !== "accepted" && imitated(row.tool) === looks
      ? [{ server: row.server, tool: row.tool, reason: imitation(server) }]
      : [],
  );
}

/**
 * Tools that were seen before under a name that is now seen to be another's in disguise. The same name at two servers is
 * no disguise: what worked with the first one goes on working when a second one comes, whatever that calls its tools.
 */
function disguisesOf(server: string, came: readonly string[], others: Others): Mistaken[] {
  const bySkeleton = new Map(came.map((tool) => [skeleton(tool), tool]));
  return others.flatMap((row) => {
    if (row.tool === instructions || row.state === "accepted") return [];
    const tool = bySkeleton.get(skeleton(row.tool));
    if (tool === undefined || !isDisguised(row.tool, tool)) return [];
    return [{ server: row.server, tool: row.tool, reason: resemblance(row.tool, { server, tool }) }];
  });
}

async function flagEarlier(
  batch: Batch,
  table: ToolPins["writer"],
  agent: string,
  mistaken: readonly Mistaken[],
): Promise<void> {
  for (const { server, tool, reason } of mistaken) {
    const [row] = await table.find({ agent, server, tool });
    if (row === undefined) continue;
    const { reasons, ...flags } = flagsOf(row);
    if (reasons.includes(reason)) continue;
    await table.put({ ...row, flags: JSON.stringify({ ...flags, reasons: [...reasons, reason] }) });
    batch.records.append(entryOf(row, "flagged", `Flagged: ${reason}.`));
  }
}

function tooMany(agent: string): AegisError {
  const said = `The sighting was refused: ${visible(agent)} was shown ${mostServers} servers already, and a backend keeps no more of one agent.`;
  return new AegisError("usage", said, {
    hint: "Give servers the same key every time, and each agent its own name.",
  });
}

function answer(
  policies: PolicySet,
  rows: Rows,
  { agent, server, seen }: Looked,
  missing: string[],
): Sighted {
  const hides = hiddenUntilAccepted(policies, agent, server);
  const tools = [...seen.values()].flatMap(({ tool, definition }) => {
    if (tool === instructions) return [];
    const state = effectiveState(rows, tool, definition);
    return [{ name: tool, state, hidden: hides(tool, state) }];
  });
  return { tools, missing };
}

function entryOf(
  { agent, server, tool, seen }: Pick<PinRow, "agent" | "server" | "tool" | "seen">,
  status: string,
  reason: string,
) {
  return {
    kind: "tool" as const,
    agent,
    server: recordName(server),
    ...(tool === instructions ? {} : { tool: recordName(tool), action: recordName(`${server}__${tool}`) }),
    definition: seen,
    status,
    reason: redactText(reason),
  };
}

function record(batch: Batch, agent: string, server: string, pinnings: readonly Pinning[]): void {
  const of = (...changes: ReadonlyArray<Pinning["change"]>): Pinning[] =>
    pinnings.filter(({ change }) => changes.includes(change));
  const pinned = of("pinned").filter(({ row }) => row.tool !== instructions).length;
  if (of("pinned").length > 0) {
    const count = pinned === 1 ? "1 tool" : `${pinned} tools`;
    const reason = `The server was seen for the first time: ${count}.`;
    batch.records.append({ kind: "tool", agent, server: recordName(server), status: "pinned", reason });
  }
  const sayEach = (status: string, some: readonly Pinning[], reasonFor: (each: Pinning) => string): void => {
    for (const each of some.slice(0, RECORDED))
      batch.records.append(entryOf(each.row, status, reasonFor(each)));
    const more = some.length - RECORDED;
    if (more <= 0) return;
    const reason = `${more} more were not recorded one by one.`;
    batch.records.append({ kind: "tool", agent, server: recordName(server), status, reason });
  };
  sayEach("added", of("added", "again"), ({ change }) =>
    change === "again"
      ? "The server offers the tool again, as it was."
      : "The tool was added to a server that was known.",
  );
  sayEach("changed", of("changed"), ({ row }) =>
    row.tool === instructions
      ? "The server's instructions are not those that were seen before: all of its tools count as changed."
      : "The tool's definition is not the one that was seen before.",
  );
  sayEach(
    "flagged",
    pinnings.filter(
      ({ row, change }) => change !== "gone" && change !== "again" && flagsOf(row).reasons.length > 0,
    ),
    ({ row }) => `Flagged: ${visible(flagsOf(row).reasons.join("; "))}.`,
  );
}
