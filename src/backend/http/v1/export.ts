import { Readable } from "node:stream";
import type { LedgerRecord, RecordFilter } from "../../../client/backend.js";
import { exportQuery } from "../../../client/wire/ledger.js";
import { type ExportedRecord, type ExportSource, exportHead, exportLines } from "../../ledger/export.js";
import type { Service } from "../../service.js";
import type { RegisterRoutes } from "../app.js";

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
          "many they were: without it, the file was cut. As CSV the same in rows, the record in the last column. It goes " +
          "on to the checkpoint that signs the last record; with `agent` it has gaps, and does not verify.",
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
      const source = sourceOf(service);
      // Refused before it is recorded; what is exported then ends with the signature over that record.
      await exportHead(source, query);
      await service.recordExport(query, request.principal);
      return reply
        .type(types[format])
        .header("content-disposition", `attachment; filename="aegis-ledger.${format}"`)
        .send(Readable.from(exportLines(source, query)));
    },
  );
};

function sourceOf(service: Service): ExportSource {
  const checkpoint = async (
    filter: Omit<RecordFilter, "limit" | "kinds">,
  ): Promise<ExportedRecord | null> => {
    const [found] = await service.records({ ...filter, kinds: ["checkpoint"], limit: 1 });
    return found === undefined ? null : exported(found);
  };
  return {
    async ends() {
      const [oldest] = await service.records({ after: 0, limit: 1 });
      return { first: oldest?.id ?? 0, last: await service.newestRecord() };
    },
    async records(after, to, limit, agent) {
      const range = { after, before: to + 1, limit };
      const found = await service.records(agent === null ? range : { ...range, agent });
      return found.map(exported);
    },
    checkpointFrom: (id) => checkpoint({ after: id - 1 }),
    checkpointUpTo: (id) => checkpoint({ before: id + 1 }),
  };
}

/** What was hashed is canonical (RFC 8785), whose rules are those of JSON.stringify; the order of members is kept. */
function exported(record: LedgerRecord): ExportedRecord {
  return { id: record.id, body: JSON.stringify(record) };
}
