import { type CountKey, countKey } from "../../policy/policy.js";
import type { Batch } from "../batch.js";
import type { Statement, Store } from "../store/store.js";
import type { RunningCalls } from "./running-calls.js";

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
/** Milliseconds of a slot, and of the longest window that is made of such slots. */
const widths = [
  { width: SECOND, longest: 2 * MINUTE },
  { width: MINUTE, longest: 2 * HOUR },
  { width: HOUR, longest: Number.POSITIVE_INFINITY },
] as const;
/** Milliseconds after which no window asks for a slot of an hour any more. */
const LONGEST = 400 * 24 * HOUR;
/** Milliseconds a clock may be set back. Slots from further in the future were written by one that was wrong. */
const SKEW = MINUTE;

interface Slot {
  readonly agent: string;
  readonly pattern: string;
  readonly width: number;
  count: number;
}

/** What one transaction has read, and what it will have written. */
interface Counted {
  /** By agent and {@link countKey}; what this transaction adds included. */
  readonly sums: Map<string, number>;
  slots: Map<string, Slot>;
}

/**
 * How many calls of an agent were let through, for the limits and conditions that ask; only what they ask for is
 * counted, from the first call on that is decided under them. Counted in slots of time: a window holds the slots it
 * touches, so that a call may count for one slot longer than the window (1 s in windows of up to 2 minutes, 1 minute in
 * those of up to 2 hours, 1 hour in longer ones), and never for less.
 */
export class CallCounts {
  private readonly sum: Statement;
  private readonly increase: Statement;
  private readonly removeOld: Statement;
  /** Units of one transaction see each other here, before anything is written. */
  private readonly batches = new WeakMap<Batch, Counted>();

  constructor(
    { writer }: Store,
    private readonly running: RunningCalls,
  ) {
    this.sum = writer.prepare(
      `SELECT sum(count) AS count FROM call_counts
       WHERE agent = ? AND pattern = ? AND width = ? AND slot >= ? AND slot <= ?`,
    );
    this.increase = writer.prepare(
      `INSERT INTO call_counts (agent, pattern, width, slot, count) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (agent, pattern, width, slot) DO UPDATE SET count = call_counts.count + excluded.count`,
    );
    this.removeOld = writer.prepare("DELETE FROM call_counts WHERE width = ? AND slot < ?");
  }

  /**
   * By {@link countKey}.
   *
   * @param but a call that is not counted: it was let through before, and is asked about again
   */
  async read(
    batch: Batch,
    agent: string,
    keys: readonly CountKey[],
    but: string | null = null,
  ): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    for (const key of keys) {
      const { pattern, window } = key;
      const count =
        window === null
          ? await this.running.count(batch, agent, pattern, but)
          : Math.max(0, (await this.sumOf(batch, agent, pattern, window)) - (but === null ? 0 : 1));
      counts.set(countKey(key), count);
    }
    return counts;
  }

  /** The call is let through. */
  async add(
    batch: Batch,
    call: {
      readonly call: string;
      readonly agent: string;
      readonly action: string;
      readonly gateway: string;
    },
    keys: readonly CountKey[],
  ): Promise<void> {
    if (keys.length === 0) return;
    const { agent } = call;
    const { sums, slots } = this.collect(batch);
    const rows = new Set<string>();
    for (const key of keys) {
      const { pattern, window } = key;
      if (window === null) continue;
      const known = sums.get(sumKey(agent, key));
      if (known !== undefined) sums.set(sumKey(agent, key), known + 1);
      const width = widthOf(window);
      const row = JSON.stringify([agent, pattern, width]);
      // Windows of one width are counted once, in the slots they share.
      if (rows.has(row)) continue;
      rows.add(row);
      const slot = slots.get(row);
      if (slot === undefined) slots.set(row, { agent, pattern, width, count: 1 });
      else slot.count++;
    }
    if (keys.some(({ window }) => window === null)) await this.running.add(batch, call);
  }

  /** Removes what no window reaches any more. */
  async prune(now: number): Promise<void> {
    for (const { width, longest } of widths)
      await this.removeOld.run(width, Math.floor((now - Math.min(longest, LONGEST)) / width));
  }

  private async sumOf(batch: Batch, agent: string, pattern: string, window: number): Promise<number> {
    const { sums } = this.of(batch);
    const name = sumKey(agent, { pattern, window });
    const known = sums.get(name);
    if (known !== undefined) return known;
    const width = widthOf(window);
    const from = Math.floor((batch.now - window) / width);
    const row = (await this.sum.get(agent, pattern, width, from, Math.floor((batch.now + SKEW) / width))) as {
      count: number | string | null;
    };
    const waiting = this.of(batch).slots.get(JSON.stringify([agent, pattern, width]))?.count ?? 0;
    // PostgreSQL sums integers to a decimal, which comes as text.
    const count = Number(row.count ?? 0) + waiting;
    sums.set(name, count);
    return count;
  }

  /** The same, of which what it counts is written with the transaction. */
  private collect(batch: Batch): Counted {
    const counted = this.of(batch);
    if (counted.slots.size === 0) {
      batch.writeAtEnd(async () => {
        const written = counted.slots;
        counted.slots = new Map();
        for (const { agent, pattern, width, count } of written.values())
          await this.increase.run(agent, pattern, width, Math.floor(batch.now / width), count);
      });
    }
    return counted;
  }

  private of(batch: Batch): Counted {
    let counted = this.batches.get(batch);
    if (counted === undefined) {
      counted = { sums: new Map(), slots: new Map() };
      this.batches.set(batch, counted);
    }
    return counted;
  }
}

function widthOf(window: number): number {
  return widths.find(({ longest }) => window <= longest)?.width ?? HOUR;
}

function sumKey(agent: string, key: CountKey): string {
  return JSON.stringify([agent, countKey(key)]);
}
