import { setImmediate as nextTurn } from "node:timers/promises";
import type { VerifyReport } from "../../client/backend.js";
import { patiently } from "../store/patience.js";
import type { Statement, Store } from "../store/store.js";
import { readAnchor } from "./anchor-file.js";
import { type Flaw, LedgerCheck, type Row, type Start } from "./check.js";
import { statementOf } from "./rotation.js";
import { checkSegments } from "./segments.js";
import type { TrustedKeys } from "./signature.js";

/** Rows read at a time: a ledger of any size is verified in little memory, and calls go on in between. */
const ROWS = 256;

/** What the ledger of a store is held against. */
export interface VerifyOptions {
  /** Null where nothing was ever signed here. */
  readonly keys: TrustedKeys | null;
  /** Paths of anchor files; null compares none. */
  readonly anchors: readonly string[] | null;
  /** Records a ledger that was never signed may have, though there is a key. */
  readonly unsigned: number;
  /** The folder of the segments, to verify the history from its beginning; null begins at what the store still holds. */
  readonly segments: string | null;
}

/** Checks every record up to the newest one of this moment: see {@link LedgerCheck}. */
export async function verify(store: Store, options: VerifyOptions): Promise<VerifyReport> {
  const { reader } = store;
  const { keys, unsigned } = options;
  // Before the newest record is looked up: what the anchor holds by then is in the ledger.
  const anchors = options.anchors === null ? null : await Promise.all(options.anchors.map(readAnchor));
  const ends = reader.prepare("SELECT min(id) AS first, max(id) AS last FROM ledger");
  const { first, last } = (await patiently(store, () => ends.get())) as Record<
    "first" | "last",
    number | null
  >;
  const trust = { keys, anchors, unsigned };
  const beginning = { id: 1, prev: "" };
  // A forged row may have any number: only a rotation explains that the first one is missing.
  const rotated = first !== null && first > 1 ? await statementOf(store, first, keys) : null;
  if (typeof rotated === "string") {
    return new LedgerCheck(trust, beginning).report({ id: 1, reason: rotated });
  }
  const start: Start = rotated ?? beginning;
  if (options.segments !== null && start.id > 1) {
    const check = new LedgerCheck(trust, beginning);
    const { flaw, files } = await checkSegments(check, options.segments, start.id - 1);
    if (flaw !== null) return check.report(flaw);
    const broken = await checkStore(store, check, last ?? 0);
    return check.report(broken ?? files.unstated(check));
  }
  const check = new LedgerCheck(trust, start);
  const broken = await checkStore(store, check, last ?? 0);
  const notes =
    start.id > 1
      ? [`Records 1 to ${start.id - 1} are in segments, which were not given: they were not checked.`]
      : [];
  return check.report(broken, notes);
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
