import type { Logger } from "../log.js";
import type { Approvals } from "./approvals.js";
import type { Batch } from "./batch.js";
import type { Events } from "./events.js";
import type { GroupCommit } from "./store/commit.js";
import type { Store } from "./store/store.js";

/** Milliseconds between two looks for approvals that have expired. */
const EXPIRY = 250;
/** Milliseconds between two removals of old events. */
const PRUNE = 600_000;

/** What time alone brings about. Any process that has the store open does it; a use never relies on it. */
export class Sweep {
  private expiry = 0;
  private prune = performance.now() + PRUNE;
  private running = false;
  private lost = false;

  constructor(
    private readonly commit: GroupCommit<Batch>,
    private readonly approvals: Approvals,
    private readonly events: Events,
    private readonly store: Store,
    private readonly log: Logger,
  ) {}

  /** Called often; does little. */
  look(): void {
    const now = performance.now();
    if (this.running || now < this.expiry) return;
    this.expiry = now + EXPIRY;
    const lost = this.store.problem();
    if (lost !== null && !this.lost)
      this.log.error({ err: lost }, "the store is gone: every call is refused");
    if (lost !== null || this.lost) this.commit.refuse(lost);
    this.lost = lost !== null;
    if (this.lost) return;
    this.running = true;
    this.end(now)
      .catch((thrown: unknown) => this.log.warn({ err: thrown }, "expired approvals could not be ended"))
      .finally(() => {
        this.running = false;
      });
  }

  private async end(now: number): Promise<void> {
    const prune = now >= this.prune;
    if (prune) this.prune = now + PRUNE;
    if (!prune && !(await this.approvals.anyDue(Date.now()))) return;
    await this.commit.write(async (batch) => {
      await this.approvals.expireDue(batch);
      if (prune) await this.events.forgetOld(batch.now);
    });
  }
}
