import { setImmediate as nextTurn } from "node:timers/promises";
import type { VerifyReport } from "../../client/backend.js";
import { reasonOf } from "../../errors.js";
import type { Connection } from "../store/driver.js";
import { patiently } from "../store/patience.js";
import { recordHash } from "./chain.js";
import { recordKey } from "./record.js";

/** Rows read at a time: a ledger of any size is verified in little memory, and calls go on in between. */
const ROWS = 256;

interface Row {
  readonly id: number;
  readonly agent: string | null;
  readonly key: string | null;
  readonly body: string;
  readonly hash: string;
}

/** Checks every record up to the newest one of this moment: numbering, link, hash, and that its columns say what it says. */
export async function verify(connection: Connection): Promise<VerifyReport> {
  const last = connection.prepare("SELECT max(id) AS id FROM ledger");
  const rows = connection.prepare(
    "SELECT id, agent, key, body, hash FROM ledger WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
  );
  const newest = ((await patiently(() => last.get())) as { id: number | null }).id ?? 0;
  const open = new Set<string>();
  // Ids of our own start at 1, but a forged row may have any.
  let after = Number.MIN_SAFE_INTEGER;
  let records = 0;
  let head = "";
  for (;;) {
    const page = (await patiently(() => rows.all(after, newest, ROWS))) as Row[];
    for (const row of page) {
      const reason = flaw(row, records + 1, head, open);
      if (reason !== null) {
        const broken = { id: Math.min(row.id, records + 1), reason };
        return { ok: false, records, head, broken, open: open.size };
      }
      records++;
      head = row.hash;
      after = row.id;
    }
    if (page.length < ROWS) return { ok: true, records, head, broken: null, open: open.size };
    await nextTurn();
  }
}

/** What is wrong with a record, or null. Keeps count of the calls that run. */
function flaw(row: Row, id: number, prev: string, open: Set<string>): string | null {
  if (row.id !== id) return row.id > id ? `record ${id} is missing` : `a record has the number ${row.id}`;
  if (recordHash(row.body) !== row.hash) return "its content does not have its hash";
  let body: Record<string, unknown>;
  try {
    body = JSON.parse(row.body) as Record<string, unknown>;
  } catch (thrown) {
    return `it is not JSON: ${reasonOf(thrown)}`;
  }
  if (body.id !== id) return `its content is of record ${String(body.id)}`;
  if (body.prev !== prev) return "it does not continue the record before it";
  if ((body.agent ?? null) !== row.agent) return "its agent column differs from its content";
  if (recordKey(body) !== row.key) return "its key column differs from its content";
  const call = body.call;
  if (typeof call === "string") {
    if (body.kind === "decision" && body.decision === "ALLOW") open.add(call);
    // An outcome, or the refusal of a new lease.
    else open.delete(call);
  }
  return null;
}
