import { AegisError } from "../../errors.js";
import { patiently } from "../store/patience.js";
import type { Connection, Store, Value } from "../store/store.js";
import { recordHash } from "./chain.js";
import { csvHeader, csvRemark, csvRow } from "./csv.js";

/** Records read, and given away, at a time. */
const ROWS = 256;

export interface ExportQuery {
  readonly format: "jsonl" | "csv";
  /** Numbers of the first and the last record; the first and the last there are, if left out. */
  readonly from?: number;
  readonly to?: number;
  /** Only its records: what is between them is missing, and so the links cannot be checked. */
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
  /** Number of the newest checkpoint in this stretch and the id of the key that signed it; null where there is none. */
  readonly checkpoint: number | null;
  readonly key_id: string | null;
}

/** The last line: without it, the export was cut. */
export interface ExportEnd {
  readonly records: number;
  /** Hash of the last record in the file; empty where there is none. */
  readonly head: string;
}

/**
 * The ledger as text, in pieces of whole lines. JSONL: a line that says what is exported (`{"export":…}`), each record
 * as exactly the text that was hashed, a line that says how many they were (`{"end":…}`). CSV: the same as rows.
 *
 * @param now milliseconds since the epoch
 * @throws AegisError `usage` where there are no such records
 */
export async function* exportLines(
  store: Store,
  query: ExportQuery,
  now: number = Date.now(),
): AsyncGenerator<string> {
  const head = await headOf(store, query, now);
  const csv = query.format === "csv";
  const remark = (name: string, said: object): string => {
    const json = JSON.stringify({ [name]: said });
    return csv ? csvRemark(name, json) : json;
  };
  yield `${csv ? `${csvHeader}\n` : ""}${remark("export", head)}\n`;
  const where = head.agent === null ? "" : "agent = ? AND ";
  const select = store.reader.prepare(
    `SELECT id, body FROM ledger WHERE ${where}id > ? AND id <= ? ORDER BY id LIMIT ?`,
  );
  const values: Value[] = head.agent === null ? [] : [head.agent];
  let after = head.from - 1;
  let records = 0;
  let last = "";
  for (;;) {
    const rows = (await patiently(store, () => select.all(...values, after, head.to, ROWS))) as Array<{
      readonly id: number;
      readonly body: string;
    }>;
    let text = "";
    for (const { id, body } of rows) {
      text += csv ? `${csvRow(body)}\n` : `${body}\n`;
      after = id;
      last = body;
    }
    records += rows.length;
    if (text !== "") yield text;
    if (rows.length < ROWS) break;
  }
  const end: ExportEnd = { records, head: last === "" ? "" : recordHash(last) };
  yield `${remark("end", end)}\n`;
}

async function headOf(store: Store, query: ExportQuery, now: number): Promise<ExportHead> {
  const { reader } = store;
  const first = await one(store, reader, "SELECT min(id) AS id FROM ledger");
  const last = await one(store, reader, "SELECT max(id) AS id FROM ledger");
  const from = query.from ?? first ?? 1;
  const to = Math.min(query.to ?? last ?? 0, last ?? 0);
  if (from < (first ?? 1) || (query.from !== undefined && from > to)) {
    throw new AegisError("usage", `The ledger holds no records from ${from} to ${query.to ?? to}.`, {
      hint: `It holds the records ${first ?? 0} to ${last ?? 0}; older ones are in segments.`,
    });
  }
  const find = async (sql: string, ...values: Value[]): Promise<string> =>
    ((await patiently(store, () => reader.prepare(sql).get(...values))) as { text: string } | undefined)
      ?.text ?? "";
  const opening = await find("SELECT body AS text FROM ledger WHERE id = ?", from);
  const head = await find("SELECT hash AS text FROM ledger WHERE id = ?", to);
  const signed = await find(
    `SELECT ledger.body AS text FROM signed_records JOIN ledger ON ledger.id = signed_records.id
     WHERE signed_records.kind = 'checkpoint' AND signed_records.id >= ? AND signed_records.id <= ?
     ORDER BY signed_records.id DESC LIMIT 1`,
    from,
    to,
  );
  const checkpoint = signed === "" ? null : (JSON.parse(signed) as { id: number; key_id: string });
  const prev = opening === "" ? "" : String((JSON.parse(opening) as { prev: unknown }).prev);
  return {
    format: 1,
    exported_at: new Date(now).toISOString(),
    agent: query.agent ?? null,
    from,
    to,
    prev,
    head,
    checkpoint: checkpoint?.id ?? null,
    key_id: checkpoint?.key_id ?? null,
  };
}

async function one(store: Store, reader: Connection, sql: string): Promise<number | null> {
  return ((await patiently(store, () => reader.prepare(sql).get())) as { id: number | null }).id;
}
