import { z } from "zod";
import type { VerifyReport } from "../../client/backend.js";
import { AegisError, reasonOf } from "../../errors.js";
import type { Anchor } from "./anchor-file.js";
import { BodyReader } from "./body.js";
import { recordHash } from "./chain.js";
import { type Flaw, LedgerCheck, type Trust } from "./check.js";
import { bodyOfRow, csvHeader, csvRemark, csvRow } from "./csv.js";
import type { ExportEnd, ExportHead } from "./export.js";
import { linesOf } from "./lines.js";
import { sealProblem, signedKinds, type TrustedKeys } from "./signature.js";

const hashField = z.string().regex(/^([0-9a-f]{64})?$/);
const headLine = z.strictObject({
  export: z.strictObject({
    format: z.literal(1),
    exported_at: z.string(),
    agent: z.string().nullable(),
    from: z.int().min(1),
    to: z.int().min(0),
    prev: hashField,
    head: hashField,
    checkpoint: z.int().nullable(),
    key_id: z.string().nullable(),
  }),
});
const endLine = z.strictObject({ end: z.strictObject({ records: z.int().min(0), head: hashField }) });

/** What takes the records of an export, one by one; what it says of one ends the reading. */
type Take = (body: string) => Flaw | null;

/** An export as far as it was read. */
export interface ReadExport {
  readonly head: ExportHead;
  /** Null where the last line is missing: the file was cut. */
  readonly end: ExportEnd | null;
  readonly flaw: Flaw | null;
  readonly records: number;
  /** Hash of the last record. */
  readonly last: string;
}

/**
 * Reads an export, JSONL or CSV: the file itself shows which.
 *
 * @param begin told what the file says of itself, before its records
 * @throws AegisError `usage` where it is no export
 */
export async function readExport(path: string, begin: (head: ExportHead) => Take): Promise<ReadExport> {
  let head: ExportHead | null = null;
  let end: ExportEnd | null = null;
  let take: Take | null = null;
  let flaw: Flaw | null = null;
  let csv = false;
  let records = 0;
  let last = "";
  let number = 0;
  for await (const lines of linesOrUsage(path)) {
    for (const line of lines) {
      number++;
      if (number === 1 && line === csvHeader) {
        csv = true;
        continue;
      }
      const body = csv ? bodyOfRow(line) : line;
      if (take === null) {
        head = headOf(path, body);
        if (csv && line !== csvRemark("export", body ?? "")) {
          return cut(head, { id: 0, reason: differs(number) }, records, last);
        }
        take = begin(head);
      } else if (end !== null || body === null) {
        return cut(head, { id: 0, reason: `line ${number} of the file belongs to no record` }, records, last);
      } else if (body.startsWith('{"end":')) {
        end = endOf(body);
        if (csv && line !== csvRemark("end", body)) {
          return cut(head, { id: 0, reason: differs(number) }, records, last);
        }
      } else {
        // What people read are the columns: a row that was not made of its record is a forgery.
        const rowFlaw = csv && line !== csvRow(body) ? { id: idIn(body), reason: differs(number) } : null;
        flaw = take(body) ?? rowFlaw;
        if (flaw !== null) return cut(head, flaw, records, last);
        records++;
        last = body;
      }
    }
  }
  if (head === null) throw noExport(path);
  return { head, end, flaw, records, last: last === "" ? "" : recordHash(last) };
}

function cut(head: ExportHead | null, flaw: Flaw, records: number, last: string): ReadExport {
  if (head === null) throw new Error("a record came before the head");
  return { head, end: null, flaw, records, last };
}

/** What an export is held against. */
export interface ExportTrust {
  readonly keys: TrustedKeys;
  /** Null where none is to be compared. */
  readonly anchors: readonly Anchor[] | null;
  /** Records behind the last signature are accepted. */
  readonly allowUnsigned?: boolean;
}

/**
 * Verifies an export with public keys alone: nobody but who has the private one can have written what is signed, so the
 * checkpoint that its first line names must be in it, and nothing behind it. An export of one agent's records has gaps,
 * and a record between two gaps may be anything: it never verifies (`ok` false, `broken` null), though what is wrong
 * with it by itself is found.
 *
 * @throws AegisError `usage` where the file is no export
 */
export async function verifyExport(
  path: string,
  { allowUnsigned, ...held }: ExportTrust,
): Promise<VerifyReport> {
  const trust: Trust = { ...held, unsigned: Number.MAX_SAFE_INTEGER, past: true };
  let check = new LedgerCheck(trust, { id: 1, prev: "" });
  const read = await readExport(path, (head) => {
    if (head.agent !== null) {
      const partial = new PartialCheck(trust, head.agent);
      return (body) => partial.take(body);
    }
    check = new LedgerCheck(trust, { id: head.from, prev: head.from === 1 ? "" : head.prev });
    return (body) => check.takeBody(body);
  });
  const { head, flaw, end, records, last } = read;
  if (head.agent !== null) {
    const notes = [
      `The export holds the records of ${head.agent} alone: without those between them nothing shows that they are in the ledger, or are all. Export without --agent, verify that, and look for the agent in it.`,
    ];
    const report = check.report(flaw ?? endFlaw(read, true), notes);
    return { ...report, ok: false, records, head: end?.head ?? last };
  }
  const whole = flaw ?? endFlaw(read, false) ?? check.finish() ?? unsigned(check, head, allowUnsigned);
  const notes =
    head.from > 1 ? [`The export begins at record ${head.from}: what was before it was not checked.`] : [];
  return check.report(whole, notes);
}

/** Why what holds in itself could be anybody's work, or null. */
function unsigned({ signed }: LedgerCheck, head: ExportHead, allowed = false): Flaw | null {
  if (signed === null) {
    return { id: head.from, reason: "no record of the export is signed: anybody could have written it" };
  }
  if (signed.id !== head.checkpoint || signed.key !== head.key_id) {
    const named = head.checkpoint === null ? "none" : `record ${head.checkpoint}`;
    const reason = `it is the last signature in the file, and the first line names ${named}, or another key`;
    return { id: signed.id, reason };
  }
  if (signed.id === head.to || allowed) return null;
  const reason = `nothing signs the records ${signed.id + 1} to ${head.to}: anybody could have added them (--allow-unsigned accepts that)`;
  return { id: signed.id + 1, reason };
}

/** What is wrong with the end of an export that was read to its end, or null. */
export function endFlaw({ head, end, records, last }: ReadExport, filtered: boolean): Flaw | null {
  const id = head.from + records;
  if (end === null) return { id, reason: "the file ends without its last line: it was cut off" };
  const complete = filtered || (records === Math.max(0, head.to - head.from + 1) && last === head.head);
  if (complete && end.records === records && end.head === last) return null;
  return { id, reason: "the file does not hold the records that it says it holds" };
}

/** Records with gaps between them. */
class PartialCheck {
  private readonly reader = new BodyReader();
  private last = { id: 0, hash: "" };

  constructor(
    private readonly trust: Trust,
    private readonly agent: string,
  ) {}

  take(body: string): Flaw | null {
    const { last, reader } = this;
    const problem = reader.read(body);
    const id = reader.id ?? last.id + 1;
    if (problem !== null) return { id, reason: problem };
    if (reader.agent !== this.agent) return { id, reason: `it is no record of ${this.agent}` };
    if (id <= last.id) return { id, reason: `it comes behind record ${last.id}` };
    if (id === last.id + 1 && reader.prev !== last.hash) {
      return { id, reason: "it does not continue the record before it" };
    }
    if (signedKinds.has(reader.kind ?? "")) {
      const unsealed = sealProblem(body, this.trust.keys ?? new Map());
      if (unsealed !== null) return { id, reason: `it ${unsealed}` };
    }
    this.last = { id, hash: recordHash(body) };
    return null;
  }
}

async function* linesOrUsage(path: string): AsyncGenerator<readonly string[]> {
  try {
    yield* linesOf(path);
  } catch (thrown) {
    throw new AegisError("usage", `${path} cannot be read: ${reasonOf(thrown)}.`, { cause: thrown });
  }
}

function headOf(path: string, line: string | null): ExportHead {
  const found = headLine.safeParse(jsonOf(line));
  if (!found.success) throw noExport(path);
  return found.data.export;
}

function endOf(line: string): ExportEnd | null {
  const found = endLine.safeParse(jsonOf(line));
  return found.success ? found.data.end : null;
}

function differs(line: number): string {
  return `the columns in line ${line} of the file are not those of the record in it`;
}

function idIn(body: string): number {
  const reader = new BodyReader();
  return reader.read(body) === null ? (reader.id ?? 0) : 0;
}

function jsonOf(line: string | null): unknown {
  try {
    return JSON.parse(line ?? "");
  } catch {
    return null;
  }
}

function noExport(path: string): AegisError {
  return new AegisError("usage", `${path} is no export of a ledger: its first line does not say so.`, {
    hint: "`aegis audit export --out FILE` makes one.",
  });
}
