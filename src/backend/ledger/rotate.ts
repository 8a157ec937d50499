import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Principal } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import type { Parts } from "../compose.js";
import { patiently } from "../store/patience.js";
import type { Connection, Store, Value } from "../store/store.js";
import { syncFolder } from "./anchor-file.js";
import { LedgerCheck, type Start } from "./check.js";
import { exportLines, storeSource } from "./export.js";
import { endFlaw, readExport } from "./export-file.js";
import { statementOf } from "./rotation.js";
import { fileHash, segmentName } from "./segments.js";
import type { TrustedKeys } from "./signature.js";

/** Records of one segment: while they are removed, nothing else is written, and no call waits for longer than 2 s. */
const MOST = 50_000;
const CHECKPOINTS = 1_000;

export interface RotateOptions {
  /** Records older than this go, milliseconds since the epoch; or records with a smaller number. */
  readonly before: { readonly time: number } | { readonly id: number };
  /** Absolute path; made where it is missing. */
  readonly folder: string;
  readonly by: Principal;
}

/** A segment that was written, and what was removed with it. */
export interface Segment {
  readonly path: string;
  readonly first: number;
  readonly last: number;
}

/**
 * Moves the oldest records into segment files, up to a checkpoint each, so that every segment is signed to its end. A
 * file is written, synced and verified before its records are removed; that, and the signed record which says so, is
 * one transaction. The newest record always stays, and so do the records of calls that are open.
 *
 * @throws AegisError `ledger_broken` where the records do not verify; `usage`; `not_permitted` where the database does
 *   not let this login remove records
 */
export async function* rotate(parts: Parts, options: RotateOptions): AsyncGenerator<Segment> {
  const { commit, gateways, signer, store } = parts;
  const keys = signer.trusted() ?? new Map();
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  // What dead gateways left open ends here: nobody would find its beginning later.
  await commit.write((batch) => gateways.recover(batch));
  // What a rotation itself adds is not to go with the next one.
  const newest = (await one(store, "SELECT max(id) AS id FROM ledger")) as { id: number | null };
  const wanted = "id" in options.before ? options.before.id : Number.MAX_SAFE_INTEGER;
  const before = { ...options.before, id: Math.min(wanted, newest.id ?? 0) };
  for (;;) {
    const start = await startOf(store, keys);
    const last = await boundary(store, start.id, before);
    if (last === null) return;
    let segment: { readonly name: string; readonly file: string };
    try {
      segment = await writeSegment(store, options.folder, start, last, keys);
    } catch (thrown) {
      // Another rotation has moved them meanwhile.
      if ((await oldest(store.reader)) !== start.id) continue;
      throw thrown;
    }
    const { file, name } = segment;
    const said = { first_id: start.id, last_id: last.id, last_hash: last.hash, every: last.every };
    const hash = await fileHash(file);
    let moved: boolean;
    try {
      moved = await commit.write(async (batch) => {
        if ((await oldest(store.writer)) !== start.id) return false;
        await store.forget(last.id);
        batch.records.rotation({
          ...said,
          segment: name,
          segment_hash: hash,
          principal: options.by.name,
          reason: `Records ${start.id} to ${last.id} were moved to ${name}.`,
        });
        return true;
      });
    } catch (thrown) {
      // Where the store failed, nobody knows whether it has committed: then this file may be all there is.
      if (!(thrown instanceof AegisError && thrown.code === "backend_unavailable")) await rm(file);
      throw thrown;
    }
    if (moved) yield { path: file, first: start.id, last: last.id };
    else await rm(file);
  }
}

/** The first record there is; 1 where there is none. */
async function oldest(connection: Connection): Promise<number> {
  const found = await connection.prepare("SELECT min(id) AS id FROM ledger").get();
  return (found as { id: number | null }).id ?? 1;
}

/** Where the ledger in the store begins. */
async function startOf(store: Store, keys: TrustedKeys): Promise<Start> {
  const first = await patiently(store, () => oldest(store.reader));
  if (first === 1) return { id: 1, prev: "" };
  const start = await statementOf(store, first, keys);
  if (typeof start !== "string") return start;
  throw new AegisError("ledger_broken", `Nothing was moved: ${start}.`, { hint: "Run: aegis audit verify" });
}

interface Boundary {
  readonly id: number;
  readonly hash: string;
  /** Records that may follow it before the next checkpoint. */
  readonly every: number;
}

/** The checkpoint up to which the next segment goes; null where there is nothing to move. */
async function boundary(
  store: Store,
  first: number,
  before: { readonly time?: number; readonly id: number },
): Promise<Boundary | null> {
  const newest = (await one(store, "SELECT max(id) AS id FROM ledger")) as { id: number | null };
  // No call that is open began before this record.
  const marks = (await one(store, "SELECT min(mark) AS mark FROM gateways")) as { mark: number | null };
  const most = Math.min((newest.id ?? 0) - 1, marks.mark ?? Number.MAX_SAFE_INTEGER);
  const limit = Math.min(before.id - 1, most);
  const select = store.reader.prepare(
    `SELECT ledger.id AS id, ledger.hash AS hash, ledger.body AS body
     FROM signed_records JOIN ledger ON ledger.id = signed_records.id
     WHERE signed_records.kind = 'checkpoint' AND signed_records.id <= ? ORDER BY signed_records.id LIMIT ?`,
  );
  let found: Boundary | null = null;
  const rows = (await patiently(store, () => select.all(limit, CHECKPOINTS))) as Array<
    Record<string, unknown>
  >;
  for (const { id, hash, body } of rows) {
    const { at, every } = checkpointIn(Number(id), String(body));
    if (before.time !== undefined && !(Date.parse(at) < before.time)) break;
    if (found !== null && Number(id) - first >= MOST) break;
    found = { id: Number(id), hash: String(hash), every };
  }
  return found;
}

/** Complete, synced and verified before it has its name. */
async function writeSegment(
  store: Store,
  folder: string,
  start: Start,
  last: Boundary,
  keys: TrustedKeys,
): Promise<{ readonly name: string; readonly file: string }> {
  const name = segmentName(start.id, last.id, randomBytes(4).toString("hex"));
  const file = join(folder, name);
  const fresh = `${file}.unfinished`;
  try {
    const handle = await open(fresh, "wx", 0o600);
    try {
      const query = { format: "jsonl", from: start.id, to: last.id } as const;
      for await (const text of exportLines(storeSource(store), query)) await handle.appendFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const check = new LedgerCheck({ keys, anchors: null, unsigned: 0 }, start);
    const read = await readExport(fresh, () => (body) => check.takeBody(body));
    const flaw = read.flaw ?? endFlaw(read, false);
    if (flaw !== null || check.head !== last.hash) {
      const why = flaw === null ? "its end is another one" : `record ${flaw.id}: ${flaw.reason}`;
      throw new AegisError("ledger_broken", `Nothing was moved: the ledger does not verify (${why}).`, {
        hint: "Run: aegis audit verify",
      });
    }
    await rename(fresh, file);
    await syncFolder(folder);
  } catch (thrown) {
    await rm(fresh, { force: true });
    throw thrown;
  }
  return { name, file };
}

/** @throws AegisError `ledger_broken` */
function checkpointIn(id: number, body: string): { readonly at: string; readonly every: number } {
  try {
    const { at, every } = JSON.parse(body) as Record<string, unknown>;
    return { at: String(at), every: Number(every) };
  } catch (thrown) {
    throw new AegisError("ledger_broken", `Nothing was moved: record ${id} cannot be read.`, {
      cause: thrown,
      hint: "Run: aegis audit verify",
    });
  }
}

function one(store: Store, sql: string, ...values: Value[]): Promise<unknown> {
  return patiently(store, () => store.reader.prepare(sql).get(...values));
}
