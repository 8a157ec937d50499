import type { Principal } from "../../client/backend.js";
import type { Agents } from "../agents.js";
import type { Batch } from "../batch.js";
import type { Blocks } from "../blocks.js";
import { recordName, redactText } from "../ledger/redact.js";
import type { Report, Reported } from "../service.js";
import type { Statement, Store } from "../store/store.js";
import { sdkCall } from "./action.js";

/** Characters of a status that are kept. */
const longestStatus = 64;

/**
 * What an agent's own code says it did. It stands in the ledger as kinds of its own: only its word vouches for it, so
 * none of it may be taken for a decision of this backend (threat Z24).
 */
export class Reports {
  private readonly count: Statement;
  private readonly selectAll: Statement;

  constructor(
    { reader, writer }: Store,
    private readonly agents: Agents,
    private readonly blocks: Blocks,
  ) {
    this.count = writer.prepare(
      `INSERT INTO reports (agent, total, allowed, blocked) VALUES (?, 1, ?, ?)
       ON CONFLICT (agent) DO UPDATE SET total = reports.total + 1, allowed = reports.allowed + excluded.allowed,
         blocked = reports.blocked + excluded.blocked`,
    );
    this.selectAll = reader.prepare("SELECT agent, total, allowed, blocked FROM reports ORDER BY agent");
  }

  /** Returns the id of its record. */
  async write(batch: Batch, { agent, action, status, details }: Report, by: Principal): Promise<number> {
    await this.agents.see(batch, agent);
    const call = sdkCall(action);
    const said = redactText(status.slice(0, longestStatus));
    const record = batch.records.append({
      kind: said === "THOUGHT" ? "thought" : "report",
      agent,
      principal: by.name,
      server: recordName(call.server),
      tool: recordName(call.tool),
      action: recordName(call.action),
      status: said,
      reason: redactText(details),
    });
    await this.count.run(agent, said === "ALLOWED" ? 1 : 0, said === "BLOCKED" ? 1 : 0);
    if (said === "BLOCKED") await this.blocks.add(batch.now, 1);
    return record;
  }

  async counts(): Promise<Reported[]> {
    return (await this.selectAll.all()) as Reported[];
  }
}
