import type { Statement, Store } from "./store/store.js";

const MINUTE = 60_000;
const DAY = 24 * 60;

/**
 * Refused calls of the last 24 hours, counted by the minute: a window over a ledger of any size costs the same. A
 * minute counts until its end is a day old.
 */
export class Blocks {
  private readonly increase: Statement;
  private readonly prune: Statement;
  private readonly sum: Statement;

  constructor({ reader, writer }: Store) {
    this.increase = writer.prepare(
      "INSERT INTO blocks (minute, count) VALUES (?, ?) ON CONFLICT (minute) DO UPDATE SET count = blocks.count + excluded.count",
    );
    this.prune = writer.prepare("DELETE FROM blocks WHERE minute < ?");
    this.sum = reader.prepare("SELECT sum(count) AS count FROM blocks WHERE minute >= ?");
  }

  /** @param now milliseconds since the epoch */
  async add(now: number, count: number): Promise<void> {
    const minute = Math.floor(now / MINUTE);
    await this.increase.run(minute, count);
    await this.prune.run(minute - DAY);
  }

  async lastDay(now: number): Promise<number> {
    const row = (await this.sum.get(Math.floor(now / MINUTE) - DAY)) as { count: number | string | null };
    // PostgreSQL sums integers to a decimal, which comes as text.
    return Number(row.count ?? 0);
  }
}
