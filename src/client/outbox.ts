import { AegisError, reasonOf } from "../errors.js";
import type { Logger } from "../log.js";

/** Milliseconds something waits for more to travel with. */
const RIDE = 10;
/** Milliseconds until it is tried again; they double up to the second. */
const AGAIN = 100;
const AGAIN_AT_MOST = 1_000;
/** Kept while the backend is away. What comes on top displaces the oldest: it must not fill this process. */
const KEPT = 20_000;
/** Milliseconds that closing waits for what is still to be sent. */
const FLUSH = 1_000;

/**
 * What is to reach the backend in this order though nobody waits for it: sent in batches, one at a time, and again until
 * it arrived. What the backend refuses for good is logged and given up.
 */
export class Outbox<Item> {
  private items: Item[] = [];
  private timer: NodeJS.Timeout | null = null;
  private sending: Promise<void> | null = null;
  private failures = 0;
  private lost = 0;
  private closed = false;

  /**
   * @param deliver sends one batch; resolves once it is durable
   * @param most items of one batch
   * @param displaced told of an item that will not be sent (again) because others took its place
   */
  constructor(
    private readonly what: string,
    private readonly most: number,
    private readonly deliver: (batch: readonly Item[]) => Promise<void>,
    private readonly log: Logger,
    private readonly displaced: (item: Item) => void = () => {},
  ) {}

  push(item: Item): void {
    if (this.items.length >= KEPT) {
      const [oldest] = this.items.splice(0, 1);
      if (oldest !== undefined) this.displaced(oldest);
      if (this.lost++ === 0)
        this.log.error({ kept: KEPT }, `${this.what} were lost: the backend is away for too long`);
    }
    this.items.push(item);
    this.schedule(RIDE);
  }

  /**
   * Sends what is left, for a second at most.
   *
   * @returns whether everything that was ever put in has left it otherwise than by being displaced
   */
  async close(): Promise<boolean> {
    const until = performance.now() + FLUSH;
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    await this.sending;
    while (this.items.length > 0 && performance.now() < until) {
      await Promise.race([this.send(), pause(until - performance.now())]);
      if (this.failures > 0) await pause(Math.min(AGAIN, until - performance.now()));
    }
    if (this.items.length > 0) this.log.error({ count: this.items.length }, `${this.what} could not be sent`);
    return this.items.length === 0 && this.lost === 0;
  }

  private schedule(wait: number): void {
    if (this.timer !== null || this.sending !== null || this.closed) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.sending = this.send().finally(() => {
        this.sending = null;
        if (this.items.length > 0) this.schedule(this.failures === 0 ? 0 : this.pauseNow());
      });
    }, wait).unref();
  }

  /** Never rejects. */
  private async send(): Promise<void> {
    const batch = this.items.slice(0, this.most);
    const before = this.lost;
    try {
      await this.deliver(batch);
      this.done(batch.length, before);
    } catch (thrown) {
      if (isForGood(thrown) && batch.length > 1) await this.oneByOne(batch, before);
      else if (isForGood(thrown)) this.refused(thrown, before);
      else this.failed(thrown);
    }
  }

  /** One item that is refused must not take the others along. */
  private async oneByOne(batch: readonly Item[], before: number): Promise<void> {
    for (const item of batch) {
      const lost = this.lost;
      try {
        await this.deliver([item]);
        this.done(1, lost);
      } catch (thrown) {
        if (!isForGood(thrown)) {
          this.failed(thrown);
          return;
        }
        this.refused(thrown, lost);
      }
      if (this.lost !== before) return;
    }
  }

  /** `count` items are off the queue; some of them may have been displaced since. */
  private done(count: number, lostBefore: number): void {
    this.items.splice(0, Math.max(0, count - (this.lost - lostBefore)));
    this.failures = 0;
  }

  private refused(thrown: unknown, lostBefore: number): void {
    this.log.error({ reason: reasonOf(thrown) }, `one of the ${this.what} was refused`);
    this.done(1, lostBefore);
  }

  private failed(thrown: unknown): void {
    if (this.failures++ === 0)
      this.log.warn({ reason: reasonOf(thrown) }, `the ${this.what} cannot be sent and are kept`);
  }

  private pauseNow(): number {
    return Math.min(AGAIN * 2 ** Math.min(this.failures - 1, 10), AGAIN_AT_MOST);
  }
}

/** The same again would be refused again; a missing right may come back, and so may a backend. */
function isForGood(thrown: unknown): boolean {
  return !(thrown instanceof AegisError) || !["backend_unavailable", "not_permitted"].includes(thrown.code);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, milliseconds)));
}
