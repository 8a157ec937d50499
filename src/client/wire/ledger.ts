import { z } from "zod";
import type { LedgerRecord, RecordFilter } from "../backend.js";
import { countField, nameField, numberInQuery } from "./fields.js";

/** Records of one answer; whoever wants more asks again. */
export const mostRecords = 1_000;
const lastId = Number.MAX_SAFE_INTEGER;

const kindsField = z
  .string()
  .regex(/^[a-z_]{1,32}(,[a-z_]{1,32}){0,31}$/, { error: "Not a list of kinds, separated by commas." })
  .meta({ description: "Kinds of records, separated by commas: `kill,revive`." });

/** `GET /v1/ledger`: the newest `limit`, oldest of them first; with `after`, the first `limit` behind that id. */
export const ledgerQuery = z.strictObject({
  agent: nameField.optional(),
  kind: kindsField.optional(),
  limit: numberInQuery(1, mostRecords).optional().meta({ description: "100, if left out." }),
  after: numberInQuery(0, lastId).optional(),
  before: numberInQuery(1, lastId).optional().meta({ description: "Only records with a smaller id." }),
});

export type LedgerQuery = z.output<typeof ledgerQuery>;

/** `GET /v1/events`. */
export const eventsQuery = z.strictObject({
  agent: nameField.optional(),
  kind: kindsField.optional(),
  after: numberInQuery(0, lastId).optional().meta({
    description:
      "Begins behind this record; the header `Last-Event-ID` goes before it. Left out: at the newest.",
  }),
});

/** Members that do not apply to the kind are left out, and new ones may come. Their order is that of the hashed text. */
export const recordWire = z
  .record(z.string(), z.unknown())
  .refine(isRecord, { error: "Not a record of the ledger." })
  .meta({
    description: "One row of the ledger, as it is hashed: canonical JSON (RFC 8785). Always: id, at, kind.",
  }) as unknown as z.ZodType<LedgerRecord, LedgerRecord>;

function isRecord({ id, at, kind }: Readonly<Record<string, unknown>>): boolean {
  return Number.isSafeInteger(id) && typeof at === "string" && typeof kind === "string";
}

export const recordsAnswer = z.object({ records: z.array(recordWire) });

/** `GET /v1/ledger/verify`. */
export const verifyAnswer = z.looseObject({
  ok: z.boolean(),
  records: countField,
  head: z.string().meta({ description: "Hash of the newest record; empty for an empty ledger." }),
  broken: z
    .object({ id: z.int(), reason: z.string() })
    .nullable()
    .meta({ description: "The first record that does not hold, and why." }),
  open: countField.meta({ description: "Calls that were allowed and have no outcome yet." }),
});

/** `GET /v1/ledger/key`. */
export const keyAnswer = z.object({
  public_key: z.string().meta({ description: "PEM (SPKI) of the Ed25519 key that signs the checkpoints." }),
});

/** `GET /v1/ledger/export`. */
export const exportQuery = z.strictObject({
  format: z.enum(["jsonl", "csv"]).optional().meta({ description: "jsonl, if left out." }),
  agent: nameField.optional().meta({ description: "Only its records: their links cannot be checked then." }),
  from: numberInQuery(1, lastId).optional().meta({ description: "The first record." }),
  to: numberInQuery(1, lastId).optional().meta({ description: "The last record." }),
});

export function filterFromQuery(query: LedgerQuery): RecordFilter {
  const { agent, kind, limit = 100, after, before } = query;
  return {
    limit,
    ...(agent === undefined ? {} : { agent }),
    ...(kind === undefined ? {} : { kinds: kind.split(",") }),
    ...(after === undefined ? {} : { after }),
    ...(before === undefined ? {} : { before }),
  };
}

/** The query of one page: a larger limit than `mostRecords` is asked for page by page. */
export function queryOfFilter(filter: RecordFilter): Record<string, string> {
  const { agent, kinds, limit, after, before } = filter;
  return {
    limit: String(Math.min(limit, mostRecords)),
    ...(agent === undefined ? {} : { agent }),
    ...(kinds === undefined ? {} : { kind: kinds.join(",") }),
    ...(after === undefined ? {} : { after: String(after) }),
    ...(before === undefined ? {} : { before: String(before) }),
  };
}
