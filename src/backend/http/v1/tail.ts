import { reasonOf } from "../../../errors.js";
import type { Logger } from "../../../log.js";

/** Something with a number that increases. */
export interface Numbered {
  readonly number: number;
}

export interface TailSource<Item extends Numbered> {
  /** Where it is read from: for the log. */
  readonly what: string;
  /** Number of the newest item there is. */
  readonly newest: () => Promise<number>;
  /** Some items behind this number, in order: none only where there is none; null where they are forgotten. */
  readonly after: (number: number) => Promise<readonly Item[] | null>;
  /** Told of by others, besides looking: calls `wake` when there may be something new. */
  readonly subscribe: (wake: () => void) => () => void;
  /** Milliseconds between two looks. */
  readonly interval: number;
}

/** Items kept for those who read a little behind. */
const KEPT = 1_000;

/**
 * The newest end of something that grows, read once for all who follow it. It reads while somebody follows; whoever is
 * further behind than what is kept reads the source itself.
 */
export class Tail<Item extends Numbered> {
  private kept: Item[] = [];
  /** Everything kept is behind this, without gaps. */
  private base = 0;
  private newest = 0;
  private followers = 0;
  private timer: NodeJS.Timeout | null = null;
  private unsubscribe: (() => void) | null = null;
  private looking: Promise<void> | null = null;
  private again = false;
  private failing = false;
  private readonly waiting = new Set<() => void>();

  constructor(
    private readonly source: TailSource<Item>,
    private readonly log: Logger,
  ) {}

  /**
   * Keeps it going for somebody, until they say that they are done.
   *
   * @returns the newest number at this moment, and what to call at the end
   */
  async follow(): Promise<{ readonly newest: number; readonly done: () => void }> {
    const newest = await this.source.newest();
    this.followers += 1;
    if (this.timer === null) {
      this.kept = [];
      this.base = newest;
      this.newest = newest;
      this.timer = setInterval(this.look, this.source.interval);
      this.unsubscribe = this.source.subscribe(this.look);
    }
    let following = true;
    const done = (): void => {
      if (!following) return;
      following = false;
      this.followers -= 1;
      if (this.followers > 0 || this.timer === null) return;
      clearInterval(this.timer);
      this.timer = null;
      this.unsubscribe?.();
      this.kept = [];
    };
    return { newest, done };
  }

  /** How far it has read: every item up to here can be read from the source. */
  get position(): number {
    return this.newest;
  }

  /** What is behind this number, as far as it has been read; null where that is not kept (any more). */
  since(number: number): readonly Item[] | null {
    if (number >= this.newest) return [];
    if (number < this.base) return null;
    let low = 0;
    let high = this.kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.kept[middle]?.number ?? 0) <= number) low = middle + 1;
      else high = middle;
    }
    return this.kept.slice(low);
  }

  /** Resolves when there is something behind this number, or `over` does. */
  async grown(number: number, over: Promise<void>): Promise<void> {
    if (this.newest > number) return;
    let wake = (): void => {};
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.waiting.add(wake);
    try {
      await Promise.race([woken, over]);
    } finally {
      this.waiting.delete(wake);
    }
  }

  private readonly look = (): void => {
    // One at a time; what comes meanwhile is read by one more round.
    this.again = true;
    this.looking ??= this.read()
      .then(
        () => {
          this.failing = false;
        },
        (thrown: unknown) => {
          if (!this.failing)
            this.log.error({ reason: reasonOf(thrown) }, `${this.source.what} cannot be read`);
          this.failing = true;
        },
      )
      .finally(() => {
        this.looking = null;
      });
  };

  private async read(): Promise<void> {
    while (this.again && this.timer !== null) {
      this.again = false;
      const newest = await this.source.newest();
      while (this.newest < newest) {
        const items = await this.source.after(this.newest);
        // Forgotten before it was read, which whoever follows finds out from the source.
        if (items === null || items.length === 0) this.skip(newest);
        else this.keep(items);
      }
    }
  }

  private keep(items: readonly Item[]): void {
    // A read that was begun for earlier followers may come in late.
    const fresh = items.filter(({ number }) => number > this.newest);
    this.kept.push(...fresh);
    this.newest = fresh.at(-1)?.number ?? this.newest;
    const surplus = this.kept.length - KEPT;
    if (surplus > 0) this.base = this.kept.splice(0, surplus).at(-1)?.number ?? this.base;
    this.wakeAll();
  }

  private skip(newest: number): void {
    this.kept = [];
    this.base = newest;
    this.newest = newest;
    this.wakeAll();
  }

  private wakeAll(): void {
    const woken = [...this.waiting];
    this.waiting.clear();
    for (const wake of woken) wake();
  }
}
