import { setImmediate as nextTurn } from "node:timers/promises";
import type { VerifyReport } from "../../client/backend.js";
import { patiently } from "../store/patience.js";
import type { Statement, Store } from "../store/store.js";
import { readAnchor } from "./anchor-file.js";
import { type Flaw, LedgerCheck, type Row, type Start, type Trust } from "./check.js";
import { rotationsIn, statementOf } from "./rotation.js";
import { checkSegments } from "./segments.js";
import type { TrustedKeys } from "./signature.js";

/** Rotations that may come in between, each of them the end of a try. */
const TRIES = 10;
/** Rows read at a time: a ledger of any size is verified in little memory, and calls go on in between. */
const ROWS = 256;

/** What the ledger of a store is held against. */
export interface VerifyOptions {
  /** Null where nothing was ever signed here. */
  readonly keys: TrustedKeys | null;
  /** Paths of anchor files; null compares none. */
  readonly anchors: readonly string[] | null;
  /** Records that may stand before the first signature, though there is a key. */
  readonly unsigned: number;
  /** The folder of the segments, to verify the history from its beginning; null begins at what the store still holds. */
  readonly segments: string | null;
}

/**
 * Checks every record up to the newest one of this moment: see {@link LedgerCheck}. Once more where a rotation has moved
 * the oldest ones away in between: they are missing, and nothing is wrong.
 */
export async function verify(store: Store, options: VerifyOptions): Promise<VerifyReport> {
  for (let tries = 1; ; tries++) {
    // Before the newest record is looked up: what the anchor holds by then is in the ledger.
    const anchors = options.anchors === null ? null : await Promise.all(options.anchors.map(readAnchor));
    const ends = await endsOf(store);
    const trust = { keys: options.keys, anchors, unsigned: options.unsigned };
    const report = await verifyBetween(store, trust, options.segments, ends);
    if (report.ok || tries === TRIES || (await endsOf(store)).first === ends.first) return report;
  }
}

interface Ends {
  /** Null where there is no record. */
  readonly first: number | null;
  readonly last: number | null;
}

async function verifyBetween(
  store: Store,
  trust: Trust,
  folder: string | null,
  { first, last }: Ends,
): Promise<VerifyReport> {
  const beginning = { id: 1, prev: "" };
  // A forged row may have any number: only a rotation explains that the first one is missing.
  const rotated = first !== null && first > 1 ? await statementOf(store, first, trust.keys) : null;
  if (typeof rotated === "string") {
    return new LedgerCheck(trust, beginning).report({ id: 1, reason: rotated });
  }
  const start: Start = rotated ?? beginning;
  if (folder !== null && start.id > 1) {
    const check = new LedgerCheck(trust, beginning);
    const rotations = await rotationsIn(store);
    const { flaw, notes } = await checkSegments(check, folder, start.id - 1, rotations, trust.keys);
    return check.report(flaw ?? (await checkStore(store, check, last ?? 0)), notes);
  }
  const check = new LedgerCheck(trust, start);
  const broken = await checkStore(store, check, last ?? 0);
  const notes =
    start.id > 1
      ? [`Records 1 to ${start.id - 1} are in segments, which were not given: they were not checked.`]
      : [];
  return check.report(broken, notes);
}

async function endsOf(store: Store): Promise<Ends> {
  const ends = store.reader.prepare("SELECT min(id) AS first, max(id) AS last FROM ledger");
  return (await patiently(store, () => ends.get())) as Ends;
}

async function checkStore(store: Store, check: LedgerCheck, newest: number): Promise<Flaw | null> {
  const rows: Statement = store.reader.prepare(
    "SELECT id, agent, key, body, hash FROM ledger WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
  );
  // Ids of our own start at 1, but a forged row may have any.
  let after = Number.MIN_SAFE_INTEGER;
  for (;;) {
    const page = (await patiently(store, () => rows.all(after, newest, ROWS))) as Row[];
    for (const row of page) {
      const flaw = check.take(row);
      if (flaw !== null) return flaw;
      after = row.id;
    }
    if (page.length < ROWS) return check.finish();
    await nextTurn();
  }
}
