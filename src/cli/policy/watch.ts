import { type FSWatcher, watch } from "chokidar";
import { AegisError, reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";
import { visible } from "../../visible.js";
import { type Look, lookAt, type PolicyTexts, readAsSeen } from "./folder.js";

/** Milliseconds of quiet after a change: an editor writes, renames and sets rights one after the other. */
const QUIET = 100;
/** Milliseconds a change waits at most, whatever else happens in the folder. */
const LONGEST = 1_000;
/**
 * Milliseconds between two looks that nothing has asked for. Notifications get lost: the folder was replaced by a rename
 * or through a symbolic link, it lies on a disk of another machine, the system has no watches left.
 */
const LOOK = 2_000;

export interface WatchedPolicies {
  readonly folder: string;
  /** Whether policy files of the folder are in force: that they are gone is refused then. */
  readonly some: boolean;
  /**
   * Puts these texts in force, all or none.
   *
   * @returns the revision; null where they say what is in force already
   * @throws AegisError policy_invalid; anything else is tried again
   */
  readonly apply: (texts: PolicyTexts) => Promise<string | null>;
  /** Records that a change was refused: once for each reason. */
  readonly refused: (reason: string) => Promise<void>;
  readonly log: Logger;
}

/**
 * Takes the policies over whenever their folder changes: whole, or not at all. What is refused is said once, with every
 * problem, and once more when it is mended; what was in force stays until then.
 */
export class PolicyWatch {
  private readonly watcher: FSWatcher;
  private readonly looks: NodeJS.Timeout;
  private timer: NodeJS.Timeout | null = null;
  private since = 0;
  private checking: Promise<void> | null = null;
  /** What was looked at last, and is settled. */
  private seen: string | null = null;
  /** Why the newest change was refused; null where what the folder says is in force. */
  private refusal: string | null = null;
  private some: boolean;
  private first = true;
  private closed = false;

  constructor(private readonly watched: WatchedPolicies) {
    this.some = watched.some;
    // Not depth 0: a folder that comes later would be watched, and no file in it.
    this.watcher = watch(watched.folder, { depth: 1, ignoreInitial: true, atomic: false });
    this.watcher
      .on("all", () => this.soon())
      .on("ready", () => this.soon())
      .on("error", (thrown) => {
        const { folder, log } = watched;
        log.warn({ folder, reason: reasonOf(thrown) }, "no notice is given of changed policies: a look is");
      });
    this.looks = setInterval(() => {
      if (this.timer === null) this.check();
    }, LOOK).unref();
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    this.closed = true;
    clearInterval(this.looks);
    if (this.timer !== null) clearTimeout(this.timer);
    await this.watcher.close();
    await this.checking;
  }

  private soon(): void {
    if (this.closed) return;
    const now = performance.now();
    if (this.timer === null) this.since = now;
    else clearTimeout(this.timer);
    const wait = Math.max(0, Math.min(QUIET, this.since + LONGEST - now));
    this.timer = setTimeout(() => {
      this.timer = null;
      this.check();
    }, wait).unref();
  }

  private check(): void {
    if (this.closed) return;
    if (this.checking !== null) {
      // It may have looked before what brought us here.
      this.soon();
      return;
    }
    this.checking = this.look()
      .catch((thrown: unknown) => {
        // The backend could not write it down, say: the next look tries again.
        const { folder, log } = this.watched;
        this.seen = null;
        log.error({ folder, reason: reasonOf(thrown) }, "changed policies could not be put in force yet");
      })
      .finally(() => {
        this.checking = null;
      });
  }

  private async look(): Promise<void> {
    const { folder, log } = this.watched;
    const look = await lookAt(folder);
    if (look.signature === this.seen) return;
    if (look.count === 0 && !this.some && look.problems.length === 0) return;
    try {
      const texts = await readAsSeen(folder, look);
      if (texts === null) {
        this.soon();
        return;
      }
      const revision = await this.watched.apply(texts);
      this.some = true;
      this.first = false;
      if (this.refusal !== null)
        log.warn({ folder, revision }, "the policies are in order again, and in force");
      else if (revision !== null) log.info({ folder, revision }, "the changed policies are in force");
      this.refusal = null;
    } catch (thrown) {
      if (!(thrown instanceof AegisError) || thrown.code !== "policy_invalid") throw thrown;
      await this.refuse(thrown, look);
      // Asked again at every look: what mends it may lie elsewhere, as a token for an approver does.
      this.seen = null;
      return;
    }
    this.seen = look.signature;
  }

  private async refuse(
    { message, hint }: AegisError,
    { signature, problems: insecure }: Look,
  ): Promise<void> {
    const refusal = `${signature}\n${message}`;
    const { first } = this;
    this.first = false;
    if (refusal === this.refusal) return;
    const { folder, log, refused } = this.watched;
    const problems = message.split("\n");
    if (first && insecure.length > 0) {
      // Nothing has changed yet: whoever started with these files hears what will happen.
      log.warn({ folder, problems, hint }, "changes of the policies will be refused as long as this is so");
      this.refusal = refusal;
      return;
    }
    log.error(
      { folder, problems, hint },
      "a change of the policies was refused, and what was in force stays",
    );
    await refused(visible(problems[0] ?? message));
    this.refusal = refusal;
  }
}
