import type { Logger } from "../../log.js";
import { rest } from "../rest.js";
import { patiently } from "../store/patience.js";
import type { Statement, Store } from "../store/store.js";
import { appendAnchor, newestInAnchor } from "./anchor-file.js";
import { postCheckpoint } from "./webhook.js";

/** Checkpoints kept for a target that takes none. Each one covers all before it: the oldest may go. */
const KEPT = 1_000;
/** Milliseconds between two tries, at first and at most. */
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 60_000;
/** Milliseconds a clean end waits for a target. */
const FAREWELL = 2_000;

/** Somewhere outside of the database that keeps checkpoints: a file's path, or the URL of a webhook. */
type Target =
  | { readonly anchor: string; readonly path: string }
  | { readonly anchor: string; readonly url: string };

/**
 * Tells the anchors of every checkpoint, so that a ledger which was cut, or restored from an old copy, is found out.
 * What cannot be told is tried again; no call ever waits for it.
 */
export class Anchors {
  private readonly queues: readonly Queue[];
  private readonly selectBetween: Statement;
  private ahead = false;

  /** @param targets absolute paths, and URLs that begin with `https://` or `http://` */
  constructor(
    private readonly store: Store,
    targets: readonly string[],
    private readonly log: Logger,
  ) {
    this.queues = targets.map((target) => new Queue(targetOf(target), log));
    this.selectBetween = store.reader.prepare(
      `SELECT ledger.body AS body FROM signed_records JOIN ledger ON ledger.id = signed_records.id
       WHERE signed_records.kind = 'checkpoint' AND signed_records.id > ? ORDER BY signed_records.id DESC LIMIT ${KEPT}`,
    );
  }

  /** @param checkpoints bodies of checkpoint records that are committed, oldest first */
  add(checkpoints: readonly string[]): void {
    for (const queue of this.queues) queue.add(checkpoints);
  }

  /**
   * Adds to the files what another process signed and could not tell, or tells elsewhere. A file that holds nothing
   * begins with the newest one: a file that somebody removed is not to look as if it had always been there.
   *
   * @param newest number of the newest checkpoint of the ledger
   */
  async catchUp(newest: number): Promise<void> {
    for (const queue of this.queues) {
      if (!("path" in queue.target) || queue.busy) continue;
      const held = await newestInAnchor(queue.target.path);
      if (held > newest) this.warnAhead(queue.target.path, held, newest);
      if (held >= newest) continue;
      const rows = (await patiently(this.store, () => this.selectBetween.all(held))) as Array<{
        readonly body: string;
      }>;
      const bodies = rows.map(({ body }) => body);
      queue.add(held === 0 ? bodies.slice(0, 1) : bodies.toReversed());
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.queues.map((queue) => queue.close()));
  }

  private warnAhead(path: string, held: number, newest: number): void {
    if (this.ahead) return;
    this.ahead = true;
    this.log.error(
      { anchor: path, held, newest },
      "the anchor holds a newer checkpoint than the ledger: the ledger was cut, or an old copy was restored",
    );
  }
}

class Queue {
  private waiting: string[] = [];
  private working: Promise<void> | null = null;
  private readonly ending = new AbortController();

  constructor(
    readonly target: Target,
    private readonly log: Logger,
  ) {}

  get busy(): boolean {
    return this.working !== null;
  }

  add(checkpoints: readonly string[]): void {
    this.waiting.push(...checkpoints);
    const dropped = this.waiting.splice(0, Math.max(0, this.waiting.length - KEPT)).length;
    if (dropped > 0)
      this.log.error({ anchor: this.target.anchor, dropped }, "checkpoints were not told to this anchor");
    this.working ??= this.work().finally(() => {
      this.working = null;
    });
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.ending.abort(), FAREWELL);
    await this.working;
    clearTimeout(timer);
    if (this.waiting.length > 0) {
      this.log.error(
        { anchor: this.target.anchor, missing: this.waiting.length },
        "this anchor lacks checkpoints",
      );
    }
  }

  private async work(): Promise<void> {
    let pause = FIRST_PAUSE;
    while (this.waiting.length > 0 && !this.ending.signal.aborted) {
      const told = this.waiting.slice();
      try {
        await tell(this.target, told, this.ending.signal);
        this.waiting = this.waiting.filter((checkpoint) => !told.includes(checkpoint));
        pause = FIRST_PAUSE;
      } catch (thrown) {
        this.log.warn(
          { anchor: this.target.anchor, err: thrown },
          "an anchor could not be told of a checkpoint",
        );
        await rest(pause, this.ending.signal);
        pause = Math.min(2 * pause, LONGEST_PAUSE);
      }
    }
  }
}

async function tell(target: Target, checkpoints: readonly string[], signal: AbortSignal): Promise<void> {
  if ("path" in target) await appendAnchor(target.path, checkpoints);
  else for (const checkpoint of checkpoints) await postCheckpoint(target.url, checkpoint, signal);
}

/** The anchors that can be read here again: those that are files. */
export function anchorFiles(targets: readonly string[]): string[] {
  return targets.flatMap((target) => {
    const found = targetOf(target);
    return "path" in found ? [found.path] : [];
  });
}

/** `anchor` is what logs may hold: a URL without its secrets. */
function targetOf(target: string): Target {
  if (!/^https?:\/\//i.test(target)) return { anchor: target, path: target };
  return { anchor: new URL(target).origin, url: target };
}
