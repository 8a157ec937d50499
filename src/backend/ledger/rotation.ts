import { patiently } from "../store/patience.js";
import type { Store } from "../store/store.js";
import type { Start } from "./check.js";
import { sealProblem, type TrustedKeys } from "./signature.js";

/** What a rotation record says, with the names it has there. */
export interface RotationStatement {
  readonly id: number;
  readonly first_id: number;
  readonly last_id: number;
  readonly last_hash: string;
  readonly segment: string;
  readonly segment_hash: string;
}

/**
 * Where a ledger begins whose oldest records were rotated away, by the signed record that says so; or why that cannot
 * be believed. Its signature is its own: an honest process signs the head also where somebody has put a record before it.
 *
 * @param first the oldest record that is left
 */
export async function statementOf(
  store: Store,
  first: number,
  keys: TrustedKeys | null,
): Promise<Start | string> {
  const missing = first === 2 ? "record 1 is missing" : `records 1 to ${first - 1} are missing`;
  const select = store.reader.prepare(
    `SELECT ledger.body AS body FROM signed_records JOIN ledger ON ledger.id = signed_records.id
     WHERE signed_records.kind = 'rotation' ORDER BY signed_records.id DESC`,
  );
  for (const { body } of (await patiently(store, () => select.all())) as Array<{ readonly body: string }>) {
    const said = JSON.parse(body) as RotationStatement;
    if (said.last_id !== first - 1) continue;
    const problem = sealProblem(body, keys ?? new Map());
    if (problem !== null)
      return `${missing}, and the rotation of record ${said.id} that explains it ${problem}`;
    return { id: first, prev: said.last_hash };
  }
  return `${missing}, and no rotation explains it`;
}
