import type { Statement, Store } from "../store/store.js";

/** Open approvals, and the bytes of what they ask about (its exact and its redacted form), of one agent and of all. */
const limits = {
  agent: { count: 1_000, bytes: 64 * 1024 * 1024 },
  all: { count: 10_000, bytes: 1024 * 1024 * 1024 },
} as const;

/** The row that counts those of all agents. No agent has this name. */
const ALL = "";

interface OpenRow {
  readonly agent: string;
  readonly count: number;
  readonly bytes: number;
}

/**
 * How many approvals are open. Whoever may call a tool opens them, and each is kept with its arguments, listed to
 * people and voided by a kill: an agent that floods them must not take the backend with it (threats R5, A22). Counted
 * with each change, in its transaction, so that a question costs the same however many there are.
 */
export class OpenApprovals {
  private readonly select: Statement;
  private readonly insert: Statement;
  private readonly subtract: Statement;

  constructor({ writer }: Store) {
    this.select = writer.prepare(
      `SELECT agent, count, bytes FROM open_approvals WHERE agent IN (?, '${ALL}')`,
    );
    this.insert = writer.prepare(
      `INSERT INTO open_approvals (agent, count, bytes) VALUES (?, 1, ?), ('${ALL}', 1, ?)
       ON CONFLICT (agent) DO UPDATE
         SET count = open_approvals.count + 1, bytes = open_approvals.bytes + excluded.bytes`,
    );
    this.subtract = writer.prepare(
      `UPDATE open_approvals SET count = count - ?, bytes = bytes - ? WHERE agent IN (?, '${ALL}')`,
    );
  }

  /** Why one more of this size does not fit, as a sentence with what to do; null where it does. None makes room for it. */
  async full(agent: string, size: number): Promise<string | null> {
    const rows = (await this.select.all(agent)) as OpenRow[];
    for (const { agent: whose, count, bytes } of rows) {
      const most = whose === ALL ? limits.all : limits.agent;
      const many = count >= most.count;
      if (!many && bytes + size <= most.bytes) continue;
      const who = whose === ALL ? "The agents of this backend have" : `The agent ${agent} has`;
      const what = many
        ? `${count} approvals open`
        : `${mebibytes(bytes)} MiB of arguments in open approvals`;
      const limit = many ? "" : ` (at most ${mebibytes(most.bytes)} MiB)`;
      return `${who} ${what}${limit}, and there is no room for this call's. Repeat it when some are decided or have expired.`;
    }
    return null;
  }

  /** Open approvals of an agent. */
  async of(agent: string): Promise<number> {
    const rows = (await this.select.all(agent)) as OpenRow[];
    return rows.find((row) => row.agent === agent)?.count ?? 0;
  }

  async opened(agent: string, size: number): Promise<void> {
    await this.insert.run(agent, size, size);
  }

  async ended(agent: string, count: number, size: number): Promise<void> {
    await this.subtract.run(count, size, agent);
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1024 / 1024);
}
