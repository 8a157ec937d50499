import type { Principal } from "../../client/backend.js";
import type { Batch } from "../batch.js";
import type { GroupCommit } from "../store/commit.js";
import type { ExportQuery } from "./export.js";
import { recordName } from "./redact.js";

/**
 * Records that somebody takes the ledger out (threat L19), and signs the ledger: an export up to its end is signed
 * except for the last record, which is that signature.
 */
export async function recordExport(
  commit: GroupCommit<Batch>,
  { agent, format, from, to }: ExportQuery,
  by: Principal,
): Promise<void> {
  const range = `${from === undefined ? "the first" : `record ${from}`} to ${to === undefined ? "the newest" : `record ${to}`}`;
  await commit.write((batch) => {
    batch.records.append({
      kind: "export",
      principal: by.name,
      ...(agent === undefined ? {} : { agent: recordName(agent) }),
      reason: `The ledger was exported as ${format}: ${range}${agent === undefined ? "" : `, of ${recordName(agent)} alone`}.`,
    });
    batch.records.checkpoint();
  });
}
