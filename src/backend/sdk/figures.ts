import type { Blocks } from "../blocks.js";
import type { Stats } from "../service.js";
import type { Statement, Store } from "../store/store.js";

/** The figures above the dashboard: counted in tables that stay small, however long the ledger is. */
export class Figures {
  private readonly select: Statement;

  constructor(
    { reader }: Store,
    private readonly blocks: Blocks,
  ) {
    this.select = reader.prepare(
      `SELECT (SELECT count(*) FROM agents) AS agents,
         (SELECT count(*) FROM agents WHERE status = 'ACTIVE' AND lifecycle = 'ACTIVE') AS active,
         (SELECT count(*) FROM approvals WHERE status = 'pending') AS pending`,
    );
  }

  /** @param now milliseconds since the epoch */
  async read(now: number): Promise<Stats> {
    const row = (await this.select.get()) as { agents: number; active: number; pending: number };
    return {
      agents: row.agents,
      activeAgents: row.active,
      blocks: await this.blocks.lastDay(now),
      pendingApprovals: row.pending,
    };
  }
}
