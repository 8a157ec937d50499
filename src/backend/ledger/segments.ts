import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { AegisError, reasonOf } from "../../errors.js";
import type { Flaw, LedgerCheck } from "./check.js";
import { endFlaw, readExport } from "./export-file.js";

/** `ledger-000000000001-000000005000.jsonl`: sorted by name, they are in their order. */
const NAME = /^ledger-(\d{12,16})-(\d{12,16})\.jsonl$/;

export function segmentName(first: number, last: number): string {
  return `ledger-${String(first).padStart(12, "0")}-${String(last).padStart(12, "0")}.jsonl`;
}

/** SHA-256 of a file, hex. */
export async function fileHash(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }))
    hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** The hashes of the segments that were read, to be held against what the rotation records say of them. */
export class SegmentHashes {
  private readonly files = new Map<string, { readonly hash: string; readonly first: number }>();

  add(path: string, first: number, hash: string): void {
    this.files.set(basename(path), { hash, first });
  }

  /** The first segment that no rotation record names, or names with another hash; or null. */
  unstated(check: LedgerCheck): Flaw | null {
    for (const [name, { hash, first }] of this.files) {
      const stated = check.segmentHash(name);
      if (stated === undefined) return { id: first, reason: `no rotation record names the segment ${name}` };
      if (stated !== hash)
        return { id: first, reason: `the segment ${name} is not the file that was written` };
    }
    return null;
  }
}

/**
 * Checks the segments in a folder from the first record on, up to the record `last`.
 *
 * @throws AegisError `usage` where the folder cannot be read
 */
export async function checkSegments(
  check: LedgerCheck,
  folder: string,
  last: number,
): Promise<{ readonly flaw: Flaw | null; readonly files: SegmentHashes }> {
  const files = new SegmentHashes();
  let next = 1;
  for (const { path, from, to } of await segmentsIn(folder)) {
    if (from > last || to < next) continue;
    if (from !== next) break;
    const read = await readExport(path, () => (body) => check.takeBody(body));
    const flaw = read.flaw ?? endFlaw(read, false);
    if (flaw !== null)
      return { flaw: { id: flaw.id, reason: `${flaw.reason} (in ${basename(path)})` }, files };
    files.add(path, from, await fileHash(path));
    next = to + 1;
  }
  if (next > last) return { flaw: null, files };
  const reason = `no segment in ${folder} begins with it: the records ${next} to ${last} are missing`;
  return { flaw: { id: next, reason }, files };
}

async function segmentsIn(folder: string): Promise<Array<{ path: string; from: number; to: number }>> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (thrown) {
    throw new AegisError("usage", `The folder ${folder} cannot be read: ${reasonOf(thrown)}.`, {
      cause: thrown,
    });
  }
  const found: Array<{ path: string; from: number; to: number }> = [];
  for (const name of names.toSorted()) {
    const [, from, to] = NAME.exec(name) ?? [];
    if (from !== undefined && to !== undefined) {
      found.push({ path: join(folder, name), from: Number(from), to: Number(to) });
    }
  }
  return found;
}
