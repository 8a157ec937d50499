import type { Logger } from "../../log.js";
import { unavailable } from "./faults.js";
import { locked, patience, pause } from "./patience.js";
import type { Store } from "./store.js";

/** What the units of one transaction share; `flush` writes what they have queued up in it. */
export interface Flushable {
  flush(): Promise<void>;
}

/** A part of a transaction. */
type Unit<B, T> = (batch: B) => T | Promise<T>;

/** Milliseconds a write may wait for another to ride with. */
const RIDE = 20;
/** Milliseconds until writes that nobody waits for are tried again after the store failed. */
const RETRY = 1_000;
/** Units of one transaction: more would hold the lock, and the event loop, for too long. */
const LARGEST = 512;
/** Writes that nobody waits for, kept while the store fails. */
const KEPT = 10_000;

class Entry<B> {
  private result: unknown;

  constructor(
    private readonly unit: Unit<B, unknown>,
    private readonly resolve: (result: never) => void,
    readonly reject: (thrown: unknown) => void,
    /** `performance.now()` when it was queued; null where nobody waits for it. */
    readonly since: number | null,
  ) {}

  async run(batch: B): Promise<void> {
    this.result = await this.unit(batch);
  }

  settle(): void {
    this.resolve(this.result as never);
  }
}

/**
 * Group commit: what is written in one turn of the event loop becomes durable with one fsync (measured: 46 k records/s
 * at 16 callers; waiting for a timer instead loses everywhere).
 *
 * A unit is a function of the open transaction, and units run one after the other. A unit may run more than once — after
 * a rollback, or when the lock was not to be had — and so must change nothing but the batch it is given. It waits for
 * nothing but statements of the store: with SQLite, a transaction is over before the event loop turns.
 */
export class GroupCommit<B extends Flushable> {
  private eager: Entry<B>[] = [];
  private lazy: Entry<B>[] = [];
  private timer: NodeJS.Timeout | null = null;
  /** A turn is to come, or under way: there is one transaction at a time. */
  private scheduled = false;
  private current: Promise<void> = Promise.resolve();
  /** Why nothing is written; null while it is. */
  private refusal: Error | null = null;

  /**
   * @param open makes the batch of a transaction that has just begun; `careful` where rows written together broke a
   *   constraint, and each unit is now flushed by itself
   * @param committed told after each commit
   */
  constructor(
    private readonly store: Store,
    private readonly open: (careful: boolean) => Promise<B>,
    private readonly committed: (batch: B) => void,
    private readonly log: Logger,
  ) {}

  /**
   * Resolves with what `unit` returned once it is durable.
   *
   * @throws AegisError `backend_unavailable` where the lock was not to be had for 2 s, or the store failed; whatever
   *   `unit` throws
   */
  write<T>(unit: Unit<B, T>): Promise<T> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    return new Promise<T>((resolve, reject) => {
      this.eager.push(new Entry(unit, resolve, reject, performance.now()));
      this.schedule();
    });
  }

  /** Durable with the next commit, or alone after 20 ms. While the store fails it is kept and tried again. */
  later(unit: Unit<B, void>): void {
    if (this.refusal !== null) {
      this.lost(this.refusal);
      return;
    }
    this.lazy.push(new Entry(unit, () => {}, this.lost, null));
    this.timer ??= setTimeout(this.ride, RIDE);
  }

  /** Writes that wait for a transaction. */
  get queued(): number {
    return this.lazy.length + this.eager.length;
  }

  /** Writes what is queued; everything later is refused. */
  async close(): Promise<void> {
    while (this.lazy.length + this.eager.length > 0) {
      const queued = this.lazy.length + this.eager.length;
      try {
        await this.write(() => {});
      } catch {
        // Each entry hears of it by itself.
      }
      if (this.lazy.length + this.eager.length >= queued) break;
    }
    await this.current;
    const refusal = unavailable("The store is not open", new Error("it was closed"));
    this.refuse(refusal);
    if (this.timer !== null) clearTimeout(this.timer);
    for (const entry of this.lazy.splice(0)) entry.reject(refusal);
  }

  /** From now on every write is refused with this; null takes it back. */
  refuse(refusal: Error | null): void {
    this.refusal = refusal;
  }

  private readonly ride = (): void => {
    this.timer = null;
    this.schedule();
  };

  private readonly lost = (thrown: unknown): void => {
    this.log.error({ err: thrown }, "a record that nobody waits for was lost");
  };

  private schedule(wait = 0): void {
    if (this.scheduled) return;
    this.scheduled = true;
    if (wait === 0) setImmediate(this.turn);
    else setTimeout(this.turn, wait);
  }

  private readonly turn = (): void => {
    const lazy = this.lazy.splice(0, LARGEST);
    const eager = this.eager.splice(0, LARGEST - Math.min(lazy.length, LARGEST / 2));
    const entries = [...lazy, ...eager];
    this.current = this.transact(entries)
      // What is thrown in there goes to whoever waits for it: this would be a fault of our own. Nobody is to hang.
      .catch((thrown: unknown) => {
        this.log.fatal({ err: thrown }, "a transaction failed outside of its units");
        for (const entry of entries) entry.reject(thrown);
        return 0;
      })
      .then((wait) => {
        this.scheduled = false;
        if (this.eager.length > 0) this.schedule(wait);
        else if (this.lazy.length > 0) this.timer ??= setTimeout(this.ride, Math.max(wait, RIDE));
      });
  };

  /** Returns the milliseconds until the next try; 0 where it need not wait. */
  private async transact(queued: Entry<B>[]): Promise<number> {
    const { store } = this;
    let entries = queued;
    let careful = false;
    let done: B | null = null;
    while (entries.length > 0) {
      let running: Entry<B> | null = null;
      try {
        await store.begin();
        const batch = await this.open(careful);
        for (const entry of entries) {
          running = entry;
          await entry.run(batch);
          if (careful) await batch.flush();
        }
        running = null;
        await batch.flush();
        await store.commit();
        done = batch;
        break;
      } catch (thrown) {
        await store.rollback();
        const fault = store.faultOf(thrown);
        if (fault === "busy") return this.postpone(entries, thrown);
        if (fault === "store" || (running === null && careful)) return this.fail(entries, thrown);
        // Rows of several units, written together, broke a constraint: once more, one by one. Also where that showed
        // while one of them ran: what it met may be the row of another.
        if (running === null || (fault === "constraint" && !careful)) careful = true;
        else {
          const broken = running;
          broken.reject(thrown);
          entries = entries.filter((entry) => entry !== broken);
        }
      }
    }
    if (done === null) return 0;
    // Outside of what is tried again: it is written, whatever those say who hear of it.
    for (const entry of entries) entry.settle();
    try {
      this.committed(done);
    } catch (thrown) {
      this.log.error({ err: thrown }, "what was written could not be told");
    }
    return 0;
  }

  private postpone(entries: readonly Entry<B>[], cause: unknown): number {
    const oldest = performance.now() - patience;
    const lazy: Entry<B>[] = [];
    const eager: Entry<B>[] = [];
    for (const entry of entries) {
      if (entry.since === null) lazy.push(entry);
      else if (entry.since > oldest) eager.push(entry);
      else entry.reject(locked(cause));
    }
    this.keep(lazy);
    this.eager = [...eager, ...this.eager];
    return pause();
  }

  private fail(entries: readonly Entry<B>[], cause: unknown): number {
    const error = unavailable("The store could not write", cause);
    for (const entry of entries) if (entry.since !== null) entry.reject(error);
    this.keep(entries.filter((entry) => entry.since === null));
    if (this.lazy.length > 0) this.timer ??= setTimeout(this.ride, RETRY).unref();
    return 0;
  }

  private keep(lazy: readonly Entry<B>[]): void {
    this.lazy = [...lazy, ...this.lazy];
    for (const entry of this.lazy.splice(KEPT)) entry.reject(new Error(`more than ${KEPT} records wait`));
  }
}
