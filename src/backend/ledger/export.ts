import { AegisError } from "../../errors.js";
import { patiently } from "../store/patience.js";
import type { Store, Value } from "../store/store.js";
import { recordHash } from "./chain.js";
import { csvHeader, csvRemark, csvRow } from "./csv.js";

/** Records read, and given away, at a time. */
const ROWS = 256;
/** Rotations that may come in between, each of them the end of a try. */
const TRIES = 10;

export interface ExportQuery {
  readonly format: "jsonl" | "csv";
  /**
   * Numbers of the first and the last record; the first and the last there are, if left out. The export goes on to the
   * checkpoint that signs the last one.
   */
  readonly from?: number;
  readonly to?: number;
  /** Only its records: what is between them is missing, and so the export cannot be verified. */
  readonly agent?: string;
}

/** The first line: what the export holds. The names of its members are those in the file. */
export interface ExportHead {
  readonly format: 1;
  readonly exported_at: string;
  readonly agent: string | null;
  readonly from: number;
  readonly to: number;
  /** Hash of the record before `from`; empty where there is none. */
  readonly prev: string;
  /** Hash of the record `to`. */
  readonly head: string;
  /** Number of the checkpoint that signs this stretch and the id of its key; null where there is none. */
  readonly checkpoint: number | null;
  readonly key_id: string | null;
}

/** The last line: without it, the export was cut. */
export interface ExportEnd {
  readonly records: number;
  /** Hash of the last record in the file; empty where there is none. */
  readonly head: string;
}

/** A record as it is exported. */
export interface ExportedRecord {
  readonly id: number;
  /** The text that was hashed. */
  readonly body: string;
}

/** Where the records of an export come from. */
export interface ExportSource {
  /** Numbers of the oldest and the newest record; 0 where there is none. */
  ends(): Promise<{ readonly first: number; readonly last: number }>;
  /** The first ones behind `after` up to `to`. @param agent only its records; null for all */
  records(after: number, to: number, limit: number, agent: string | null): Promise<ExportedRecord[]>;
  /** The first checkpoint from this number on. */
  checkpointFrom(id: number): Promise<ExportedRecord | null>;
  /** The newest checkpoint up to this number. */
  checkpointUpTo(id: number): Promise<ExportedRecord | null>;
}

/**
 * The ledger as text, in pieces of whole lines. JSONL: a line that says what is exported (`{"export":…}`), each record
 * as exactly the text that was hashed, a line that says how many they were (`{"end":…}`). CSV: the same as rows.
 *
 * @param now milliseconds since the epoch
 * @throws AegisError `usage` where there are no such records; `backend_unavailable` where they are rotated away meanwhile
 */
export async function* exportLines(
  source: ExportSource,
  query: ExportQuery,
  now: number = Date.now(),
): AsyncGenerator<string> {
  const opening = await begin(source, query, now);
  const { head } = opening;
  let { page } = opening;
  const csv = query.format === "csv";
  const remark = (name: string, said: object): string => {
    const json = JSON.stringify({ [name]: said });
    return csv ? csvRemark(name, json) : json;
  };
  yield `${csv ? `${csvHeader}\n` : ""}${remark("export", head)}\n`;
  let records = 0;
  let last: ExportedRecord | undefined;
  for (;;) {
    const text = page.map(({ body }) => `${csv ? csvRow(body) : body}\n`).join("");
    records += page.length;
    last = page.at(-1) ?? last;
    if (text !== "") yield text;
    if (page.length < ROWS) break;
    const after = last?.id ?? head.from;
    page = await source.records(after, head.to, ROWS, head.agent);
    if ((await source.ends()).first > after + 1) throw rotatedAway(after + 1);
  }
  const end: ExportEnd = { records, head: last === undefined ? "" : recordHash(last.body) };
  yield `${remark("end", end)}\n`;
}

/** What is exported, and its first records: once more where a rotation has moved them away in between. */
async function begin(
  source: ExportSource,
  query: ExportQuery,
  now: number,
): Promise<{ readonly head: ExportHead; readonly page: ExportedRecord[] }> {
  for (let tries = 1; tries <= TRIES; tries++) {
    const head = await exportHead(source, query, now);
    const page = await source.records(head.from - 1, head.to, ROWS, head.agent);
    if ((await source.ends()).first <= head.from) return { head, page };
  }
  throw rotatedAway(query.from ?? 1);
}

/**
 * What such an export holds. It ends with a checkpoint: the one that covers `to`, or the newest there is, so that every
 * record in it is signed.
 *
 * @throws AegisError `usage` where there are no such records
 */
export async function exportHead(
  source: ExportSource,
  query: ExportQuery,
  now: number = Date.now(),
): Promise<ExportHead> {
  const { first, last } = await source.ends();
  const from = query.from ?? Math.max(first, 1);
  const wanted = Math.min(query.to ?? last, last);
  if (from < first || (from > wanted && (query.from ?? query.to) !== undefined)) {
    throw new AegisError("usage", `The ledger holds no records from ${from} to ${query.to ?? last}.`, {
      hint: `It holds the records ${first} to ${last}; older ones are in segments.`,
    });
  }
  const covering =
    query.to === undefined ? await source.checkpointUpTo(last) : await source.checkpointFrom(wanted);
  const closing = covering ?? (await source.checkpointUpTo(wanted));
  const checkpoint = closing !== null && closing.id >= from ? closing : null;
  const to = covering !== null && covering.id >= from ? covering.id : wanted;
  const [opening] = await source.records(from - 1, to, 1, null);
  const [ending] = await source.records(to - 1, to, 1, null);
  return {
    format: 1,
    exported_at: new Date(now).toISOString(),
    agent: query.agent ?? null,
    from,
    to,
    prev: opening === undefined ? "" : hashIn(opening.body, "prev"),
    head: ending === undefined ? "" : recordHash(ending.body),
    checkpoint: checkpoint?.id ?? null,
    key_id: checkpoint === null ? null : hashIn(checkpoint.body, "key_id"),
  };
}

/** The records of a store, with nobody in between. */
export function storeSource(store: Store): ExportSource {
  const { reader } = store;
  const all = <Row>(sql: string, ...values: Value[]): Promise<Row[]> =>
    patiently(store, () => reader.prepare(sql).all(...values)) as Promise<Row[]>;
  const checkpoint = async (condition: string, id: number): Promise<ExportedRecord | null> => {
    const found = await all<ExportedRecord>(
      `SELECT ledger.id AS id, ledger.body AS body FROM signed_records JOIN ledger ON ledger.id = signed_records.id
       WHERE signed_records.kind = 'checkpoint' AND signed_records.id ${condition} LIMIT 1`,
      id,
    );
    return found[0] ?? null;
  };
  return {
    async ends() {
      type Ends = Record<"first" | "last", number | null>;
      const [ends] = await all<Ends>("SELECT min(id) AS first, max(id) AS last FROM ledger");
      return { first: ends?.first ?? 0, last: ends?.last ?? 0 };
    },
    records: (after, to, limit, agent) =>
      all(
        `SELECT id, body FROM ledger WHERE ${agent === null ? "" : "agent = ? AND "}id > ? AND id <= ? ORDER BY id LIMIT ?`,
        ...(agent === null ? [] : [agent]),
        after,
        to,
        limit,
      ),
    checkpointFrom: (id) => checkpoint(">= ? ORDER BY signed_records.id", id),
    checkpointUpTo: (id) => checkpoint("<= ? ORDER BY signed_records.id DESC", id),
  };
}

/** What a record says the hash is; empty where it says none: then it does not verify either. */
function hashIn(body: string, member: "prev" | "key_id"): string {
  return new RegExp(`"${member}":"([0-9a-f]{64})"`).exec(body)?.[1] ?? "";
}

function rotatedAway(id: number): AegisError {
  return new AegisError(
    "backend_unavailable",
    `Record ${id} was moved to a segment while the ledger was exported.`,
    { hint: "Export again: the export begins behind what was moved." },
  );
}
