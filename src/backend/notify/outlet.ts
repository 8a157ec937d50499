import { AegisError } from "../../errors.js";
import type { Logger } from "../../log.js";
import { rest } from "../rest.js";
import type { Notice, NoticeEvent } from "./notice.js";
import { Refused } from "./post.js";

/** Somewhere that is told. */
export interface Target {
  /** What logs may hold: no address whose path is a secret. */
  readonly name: string;
  /** How many are told at one time, and how many wait at most. */
  readonly lanes: number;
  readonly most: number;
  readonly tries: number;
  /** What is tried, once or again. */
  prepare(notice: Notice): (signal: AbortSignal) => Promise<void>;
}

/** What is to be told; what exactly is read when its turn comes, so that thousands cost next to nothing. */
export interface Item {
  readonly id: number;
  readonly event: NoticeEvent;
}

/** Milliseconds between two tries, at first and at most. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 60_000;
/** Milliseconds a clean end waits for those that are being told. */
const FAREWELL = 500;

/** The queue before one target. No call ever waits for it, and nothing that goes wrong here reaches one. */
export class Outlet {
  private readonly waiting: Item[] = [];
  private readonly running = new Set<Promise<void>>();
  private readonly ending = new AbortController();
  private dropped = 0;

  /** @param read null where it needs not be told any more @param firstPause milliseconds */
  constructor(
    private readonly target: Target,
    private readonly read: (item: Item) => Promise<Notice | null>,
    private readonly log: Logger,
    private readonly firstPause = FIRST_PAUSE,
  ) {}

  add(item: Item): void {
    const { target, waiting, log } = this;
    if (this.ending.signal.aborted) return;
    if (waiting.length >= target.most) {
      // The first ones stay: they have waited longest, and the list of approvals has them all.
      if (this.dropped++ === 0)
        log.warn({ target: target.name, most: target.most }, "too many notifications: more are not told");
      return;
    }
    waiting.push(item);
    this.work();
  }

  /** Resolves when nothing is told any more. */
  async close(): Promise<void> {
    if (this.waiting.length > 0)
      this.log.warn({ target: this.target.name, untold: this.waiting.length }, "notifications were not told");
    this.waiting.length = 0;
    const timer = setTimeout(() => this.ending.abort(), FAREWELL);
    await Promise.all(this.running);
    clearTimeout(timer);
    this.ending.abort();
  }

  private work(): void {
    while (this.running.size < this.target.lanes) {
      const item = this.waiting.shift();
      if (item === undefined) break;
      const telling: Promise<void> = this.tell(item).finally(() => {
        this.running.delete(telling);
        this.work();
      });
      this.running.add(telling);
    }
    if (this.waiting.length > 0 || this.dropped === 0) return;
    this.log.warn({ target: this.target.name, dropped: this.dropped }, "notifications were not told");
    this.dropped = 0;
  }

  /** Never throws. */
  private async tell(item: Item): Promise<void> {
    const { target, log } = this;
    const { signal } = this.ending;
    const about = { target: target.name, approval: item.id, event: item.event };
    let pause = this.firstPause;
    let attempt: ((signal: AbortSignal) => Promise<void>) | null = null;
    for (let tries = 1; !signal.aborted; tries++) {
      let wait = 0;
      try {
        // Looked at again before every try: what was decided meanwhile is no news.
        const notice = await this.read(item);
        if (notice === null) return;
        attempt ??= target.prepare(notice);
        await attempt(signal);
        return;
      } catch (thrown) {
        const over = tries >= target.tries || (thrown instanceof Refused && !thrown.again);
        if (over) {
          log.error({ ...about, tries, reason: safeReason(thrown) }, "a notification could not be delivered");
          return;
        }
        if (tries === 1) log.warn({ ...about, reason: safeReason(thrown) }, "a notification is tried again");
        wait = thrown instanceof Refused ? thrown.after : 0;
      }
      // Jittered: many processes do not come back in step to a receiver that was down.
      await rest(Math.min(Math.max(wait, pause * (0.5 + Math.random())), LONGEST_PAUSE), this.ending.signal);
      pause *= 2;
    }
  }
}

/** The code of a foreign error, not its message: that may hold an address, which is a secret. */
function safeReason(thrown: unknown): string {
  if (thrown instanceof Refused || thrown instanceof AegisError) return thrown.message;
  if (!(thrown instanceof Error)) return "unknown";
  return "code" in thrown && typeof thrown.code === "string" ? thrown.code : thrown.name;
}
