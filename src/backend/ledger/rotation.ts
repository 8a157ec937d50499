import { z } from "zod";
import { patiently } from "../store/patience.js";
import type { Store } from "../store/store.js";
import type { Start } from "./check.js";
import { sealProblem, type TrustedKeys } from "./signature.js";

/** What a rotation record says, with the names it has there. */
const statement = z.object({
  kind: z.literal("rotation"),
  id: z.int(),
  first_id: z.int().min(1),
  last_id: z.int().min(1),
  last_hash: z.string(),
  /** How many records may follow the last one that went before the next signature. */
  every: z.int().min(0),
  segment: z.string(),
  segment_hash: z.string(),
});
export type RotationStatement = z.infer<typeof statement>;

/** A record that is said to be a rotation. */
interface Rotation {
  readonly id: number;
  readonly body: string;
}

/** Those in the store, the newest first. */
export async function rotationsIn(store: Store): Promise<Rotation[]> {
  const select = store.reader.prepare(
    `SELECT ledger.id AS id, ledger.body AS body FROM signed_records JOIN ledger ON ledger.id = signed_records.id
     WHERE signed_records.kind = 'rotation' ORDER BY signed_records.id DESC`,
  );
  return (await patiently(store, () => select.all())) as Rotation[];
}

/** Null where the body is none of a rotation. Its signature is not looked at. */
export function statementIn(body: string): RotationStatement | null {
  try {
    return statement.safeParse(JSON.parse(body)).data ?? null;
  } catch {
    return null;
  }
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
  let unreadable: number | null = null;
  for (const { id, body } of await rotationsIn(store)) {
    const said = statementIn(body);
    if (said === null) unreadable ??= id;
    if (said?.last_id !== first - 1) continue;
    const problem = sealProblem(body, keys ?? new Map());
    if (problem !== null)
      return `${missing}, and the rotation of record ${said.id} that explains it ${problem}`;
    return { id: first, prev: said.last_hash, every: said.every };
  }
  const why = unreadable === null ? "" : `: what record ${unreadable} says of one cannot be read`;
  return `${missing}, and no rotation explains it${why}`;
}
