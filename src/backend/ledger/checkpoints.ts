import type { Logger } from "../../log.js";
import type { Batch } from "../batch.js";
import type { GroupCommit } from "../store/commit.js";
import { patiently } from "../store/patience.js";
import type { Statement, Store } from "../store/store.js";
import type { Anchors } from "./anchors.js";

/** Milliseconds between two looks, where the checkpoints are not wanted more often. */
const LOOK = 15_000;

interface State {
  /** The newest checkpoint; null where there is none. */
  readonly signed: number | null;
  /** The oldest record behind it; null where there is none. */
  readonly body: string | null;
}

/**
 * Signs what time alone makes due: records that no checkpoint has covered for long, whichever process has written them.
 * After so many records the chain signs by itself (`chain.ts`). A look that finds nothing new writes nothing.
 */
export class Checkpoints {
  private readonly select: Statement;
  private timer: NodeJS.Timeout | null = null;
  private looking: Promise<void> = Promise.resolve();
  /** This process has written what no checkpoint covers yet. */
  private unsigned = false;

  /** @param every milliseconds a record waits for a signature at most, in a process that runs */
  constructor(
    private readonly store: Store,
    private readonly commit: GroupCommit<Batch>,
    private readonly anchors: Anchors,
    private readonly every: number,
    private readonly log: Logger,
  ) {
    this.select = store.reader.prepare(
      `SELECT (SELECT max(id) FROM signed_records WHERE kind = 'checkpoint') AS signed,
              (SELECT body FROM ledger WHERE id > coalesce((SELECT max(id) FROM signed_records), 0)
               ORDER BY id LIMIT 1) AS body`,
    );
  }

  /** Not at once: a command that only reads, such as one that verifies, is not to sign what it finds. */
  start(): void {
    this.timer ??= setInterval(() => this.look(), Math.min(this.every, LOOK)).unref();
  }

  /** Told of every transaction that was committed. */
  committed({ records }: Batch): void {
    this.unsigned = (this.unsigned || records.appended > 0) && !records.endsSigned;
    if (records.checkpoints.length > 0) this.anchors.add(records.checkpoints);
  }

  /** A clean end: what this process wrote is signed, and the anchors know. */
  async stop(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    await this.looking;
    // What is queued rides along, before the signature.
    while ((this.unsigned || this.commit.queued > 0) && (await this.sign()));
    await this.anchors.close();
  }

  private look(): void {
    this.looking = this.looking
      .then(() => this.lookNow())
      .catch((thrown: unknown) =>
        this.log.warn({ err: thrown }, "the ledger's checkpoints could not be looked at"),
      );
  }

  private async lookNow(): Promise<void> {
    const { signed, body } = (await patiently(this.store, () => this.select.get())) as State;
    if (signed !== null) await this.anchors.catchUp(signed);
    if (body === null) return;
    const { at } = JSON.parse(body) as { readonly at: string };
    const age = Date.now() - Date.parse(at);
    // A clock that was set back makes it younger than it is, even of the future.
    if (age >= this.every || age < 0) await this.sign();
  }

  private async sign(): Promise<boolean> {
    try {
      await this.commit.write((batch) => batch.records.checkpoint());
      return true;
    } catch (thrown) {
      this.log.error({ err: thrown }, "the ledger could not be signed");
      return false;
    }
  }
}
