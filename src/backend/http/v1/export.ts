import { Readable } from "node:stream";
import type { LedgerRecord, RecordFilter } from "../../../client/backend.js";
import { exportQuery } from "../../../client/wire/ledger.js";
import { recordHash } from "../../ledger/chain.js";
import { csvHeader, csvRemark, csvRow } from "../../ledger/csv.js";
import type { ExportEnd, ExportHead, ExportQuery } from "../../ledger/export.js";
import type { Service } from "../../service.js";
import type { RegisterRoutes } from "../app.js";
import { HttpError } from "../errors.js";

/** Records read at a time. */
const PAGE = 256;

const types = { jsonl: "application/jsonl; charset=utf-8", csv: "text/csv; charset=utf-8" } as const;

/** The ledger as a file that verifies offline. */
export const exportRoutes: RegisterRoutes = (app, { service }) => {
  app.get(
    "/v1/ledger/export",
    {
      schema: {
        summary: "The ledger as a file",
        description:
          "First a line that says what is exported, then each record as the text that was hashed, then a line that says how " +
          "many they were: without it, the file was cut. As CSV the same in rows, the record in the last column.",
        querystring: exportQuery,
        produces: Object.values(types),
      },
    },
    async (request, reply) => {
      const { format = "jsonl", agent, from, to } = request.query;
      const query = {
        format,
        ...(agent === undefined ? {} : { agent }),
        ...(from === undefined ? {} : { from }),
        ...(to === undefined ? {} : { to }),
      };
      // Refused before it is recorded; looked up again, so that the signature over the record is in it.
      await headOf(service, query);
      await service.recordExport(query, request.principal);
      const head = await headOf(service, query);
      return reply
        .type(types[format])
        .header("content-disposition", `attachment; filename="aegis-ledger.${format}"`)
        .send(Readable.from(lines(service, head, format)));
    },
  );
};

async function* lines(
  service: Service,
  head: ExportHead,
  format: ExportQuery["format"],
): AsyncGenerator<string> {
  const csv = format === "csv";
  const remark = (name: string, said: object): string => {
    const json = JSON.stringify({ [name]: said });
    return `${csv ? csvRemark(name, json) : json}\n`;
  };
  yield (csv ? `${csvHeader}\n` : "") + remark("export", head);
  const filter = {
    limit: PAGE,
    before: head.to + 1,
    ...(head.agent === null ? {} : { agent: head.agent }),
  };
  let after = head.from - 1;
  let records = 0;
  let last: string | null = null;
  for (;;) {
    const page = await service.records({ ...filter, after });
    const bodies = page.map(bodyOf);
    if (bodies.length > 0) yield bodies.map((body) => `${csv ? csvRow(body) : body}\n`).join("");
    after = page.at(-1)?.id ?? after;
    last = bodies.at(-1) ?? last;
    records += page.length;
    if (page.length < PAGE) break;
  }
  yield remark("end", { records, head: last === null ? "" : recordHash(last) } satisfies ExportEnd);
}

async function headOf(service: Service, query: ExportQuery): Promise<ExportHead> {
  const [oldest] = await service.records({ after: 0, limit: 1 });
  const first = oldest?.id ?? 1;
  const newest = await service.newestRecord();
  const { from = first, to: wanted = newest, agent = null } = query;
  const to = Math.min(wanted, newest);
  if (from < first || (query.from !== undefined && from > to)) {
    throw new HttpError(
      400,
      `The ledger holds the records ${first} to ${newest}; older ones are in segments.`,
    );
  }
  const one = async (filter: Omit<RecordFilter, "limit">): Promise<LedgerRecord | undefined> =>
    (await service.records({ ...filter, limit: 1 })).at(0);
  const opening = await one({ after: from - 1 });
  const closing = to < from ? undefined : await one({ after: to - 1 });
  const signed = await one({ kinds: ["checkpoint"], before: to + 1 });
  const checkpoint = signed !== undefined && signed.id >= from ? signed : undefined;
  return {
    format: 1,
    exported_at: new Date().toISOString(),
    agent,
    from,
    to,
    prev: typeof opening?.prev === "string" ? opening.prev : "",
    head: closing === undefined ? "" : recordHash(bodyOf(closing)),
    checkpoint: checkpoint?.id ?? null,
    key_id: typeof checkpoint?.key_id === "string" ? checkpoint.key_id : null,
  };
}

/** What was hashed is canonical (RFC 8785), whose rules are those of JSON.stringify; the order of members is kept. */
function bodyOf(record: LedgerRecord): string {
  return JSON.stringify(record);
}
