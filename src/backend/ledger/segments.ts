import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { AegisError, reasonOf } from "../../errors.js";
import type { Flaw, LedgerCheck } from "./check.js";
import { endFlaw, readExport } from "./export-file.js";
import { linesOf } from "./lines.js";
import { type RotationStatement, statementIn } from "./rotation.js";
import { sealProblem, type TrustedKeys } from "./signature.js";

const NAME = /^ledger-\d{12,16}-\d{12,16}-[0-9a-f]+\.jsonl$/;

/**
 * `ledger-000000000001-000000005000-1f6b08a2.jsonl`: sorted by name, they are in their order.
 *
 * @param unique hex; no rotation ever writes over the file of another
 */
export function segmentName(first: number, last: number, unique: string): string {
  return `ledger-${String(first).padStart(12, "0")}-${String(last).padStart(12, "0")}-${unique}.jsonl`;
}

/** SHA-256 of a file, hex. */
export async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/**
 * Checks the records from the first one up to the record `last`, in the segments that signed rotation records name. A
 * file that none names is of a rotation which did not end, or of nobody: it is not read.
 *
 * @param rotations bodies of the rotation records that are in the store
 * @throws AegisError `usage` where the folder cannot be read
 */
export async function checkSegments(
  check: LedgerCheck,
  folder: string,
  last: number,
  rotations: ReadonlyArray<{ readonly body: string }>,
  keys: TrustedKeys | null,
): Promise<{ readonly flaw: Flaw | null; readonly notes: readonly string[] }> {
  const names = await namesIn(folder);
  const { flaw, segments } = await named(folder, names, last, rotations, keys);
  const known = new Set(segments.map(({ segment }) => segment));
  const notes = names
    .filter((name) => NAME.test(name) && !known.has(name))
    .map((name) => `No rotation record names the segment ${name}: it was not read.`);
  if (flaw !== null) return { flaw, notes };
  for (const said of segments) {
    const broken = await checkSegment(check, join(folder, said.segment), said);
    if (broken !== null) return { flaw: broken, notes };
  }
  return { flaw: null, notes };
}

async function checkSegment(
  check: LedgerCheck,
  path: string,
  { first_id: first, segment, segment_hash: hash }: RotationStatement,
): Promise<Flaw | null> {
  const other = { id: first, reason: `the segment ${segment} is not the file that was written` };
  try {
    const read = await readExport(path, () => (body) => check.takeBody(body));
    const flaw = read.flaw ?? endFlaw(read, false);
    if (flaw !== null) return { id: flaw.id, reason: `${flaw.reason} (in ${segment})` };
  } catch (thrown) {
    if (thrown instanceof AegisError) return other;
    throw thrown;
  }
  return (await fileHash(path)) === hash ? null : other;
}

/**
 * The segments of the records up to `last`, oldest first. Which file holds a record is said by a rotation record behind
 * it: in the store, or in a later segment.
 */
async function named(
  folder: string,
  names: readonly string[],
  last: number,
  rotations: ReadonlyArray<{ readonly body: string }>,
  keys: TrustedKeys | null,
): Promise<{ readonly flaw: Flaw | null; readonly segments: RotationStatement[] }> {
  const statements = new Map<number, RotationStatement>();
  const learn = (body: string): void => {
    const said = statementIn(body);
    if (said !== null && sealProblem(body, keys ?? new Map()) === null) statements.set(said.last_id, said);
  };
  for (const { body } of rotations) learn(body);
  const segments: RotationStatement[] = [];
  for (let next = last; next > 0; ) {
    const said = statements.get(next);
    if (said === undefined || said.first_id > next) {
      return { flaw: { id: 1, reason: `no rotation record says where record ${next} is` }, segments };
    }
    const { first_id: id, segment } = said;
    segments.unshift(said);
    if (segment !== basename(segment) || !names.includes(segment)) {
      const reason = `the segment ${segment} is not in ${folder}: the records ${id} to ${next} are missing`;
      return { flaw: { id, reason }, segments };
    }
    for await (const lines of linesOf(join(folder, segment))) {
      for (const line of lines) if (line.includes('"kind":"rotation"')) learn(line);
    }
    next = id - 1;
  }
  return { flaw: null, segments };
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).toSorted();
  } catch (thrown) {
    throw new AegisError("usage", `The folder ${folder} cannot be read: ${reasonOf(thrown)}.`, {
      cause: thrown,
    });
  }
}
