import { setTimeout as sleep } from "node:timers/promises";
import { reasonOf } from "../errors.js";
import type { Logger } from "../log.js";

/** Milliseconds until a confirmation that did not arrive is sent again. */
const AGAIN = 100;
/** Milliseconds an event that could not be acted upon holds up those behind it: longer than any lease. */
const FAILED = 10_000;

/**
 * Confirms events to the backend, up to the newest before which nothing is still being acted upon. An event that could
 * not be acted upon is not confirmed, nor is what came behind it, until every lease that was given before has run out.
 */
export class Heard {
  private readonly open = new Set<number>();
  /** The newest event that came, and the newest that is confirmed or is to be. */
  private newest = 0;
  private settled = 0;
  private told = 0;
  private telling = false;
  private stopped = false;

  constructor(
    private readonly confirm: (event: number) => Promise<void>,
    private readonly log: Logger,
  ) {}

  /** Enlisted, with nothing to confirm up to this event. */
  begin(event: number): void {
    this.open.clear();
    this.newest = event;
    this.settled = event;
    this.told = event;
  }

  /**
   * Something is being acted upon that no later event may overtake.
   *
   * @returns to be called once, with whether it went well
   */
  hold(event: number): (well: boolean) => void {
    this.open.add(event);
    this.newest = Math.max(this.newest, event);
    return (well) => {
      if (!well) {
        setTimeout(() => this.open.delete(event), FAILED).unref();
        return;
      }
      if (!this.open.delete(event)) return;
      const settled = Math.min(this.newest + 1, ...this.open) - 1;
      if (settled <= this.settled) return;
      this.settled = settled;
      this.tell();
    };
  }

  stop(): void {
    this.stopped = true;
  }

  private tell(): void {
    if (this.telling) return;
    this.telling = true;
    this.tellAll().then(
      () => {
        this.telling = false;
      },
      () => {},
    );
  }

  private async tellAll(): Promise<void> {
    while (this.told < this.settled && !this.stopped) {
      const event = this.settled;
      try {
        await this.confirm(event);
        this.told = Math.max(this.told, event);
      } catch (thrown) {
        this.log.debug({ reason: reasonOf(thrown), event }, "an event could not be confirmed");
        await sleep(AGAIN, undefined, { ref: false });
      }
    }
  }
}
