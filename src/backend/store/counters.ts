import type { Connection, Statement } from "./store.js";

/**
 * The numbers of rows that people and clients name: small, increasing, never given twice, and the same on every database
 * (the sequences of a distributed one jump beyond 2^53).
 */
export class Counters {
  private readonly increment: Statement;
  private readonly select: Statement;

  constructor(writer: Connection) {
    this.increment = writer.prepare("UPDATE counters SET value = value + ? WHERE name = ? RETURNING value");
    this.select = writer.prepare("SELECT value FROM counters WHERE name = ?");
  }

  async last(name: "policy_revisions"): Promise<number> {
    return ((await this.select.get(name)) as { value: number }).value;
  }

  /** The last of `count` new ones. */
  async next(
    name: "approvals" | "events" | "grants" | "tokens" | "tools" | "policy_revisions",
    count = 1,
  ): Promise<number> {
    return ((await this.increment.get(count, name)) as { value: number }).value;
  }
}
