import type { Logger } from "../log.js";
import type { ApprovalEnds } from "./approvals/ends.js";
import type { Batch } from "./batch.js";
import type { CallCounts } from "./decisions/counts.js";
import type { RunningCalls } from "./decisions/running-calls.js";
import type { Events } from "./events.js";
import type { Gateways } from "./gateways/gateways.js";
import { voidAll } from "./kill-and-revive.js";
import type { GroupCommit } from "./store/commit.js";
import type { Store } from "./store/store.js";

/** Milliseconds between two looks for approvals that have expired. */
const EXPIRY = 250;
/** Milliseconds between two looks for what a process has left that is dead. */
const LEFT = 2_000;
/** Milliseconds between two removals of old events. */
const PRUNE = 600_000;

export interface SweepParts {
  readonly commit: GroupCommit<Batch>;
  readonly ends: ApprovalEnds;
  readonly gateways: Gateways;
  readonly events: Events;
  readonly counts: CallCounts;
  readonly running: RunningCalls;
  readonly store: Store;
  readonly log: Logger;
}

/** What time alone brings about. Any process that has the store open does it; a use never relies on it. */
export class Sweep {
  private expiry = 0;
  private left = 0;
  private prune = performance.now() + PRUNE;
  private running = false;
  private lost = false;

  constructor(private readonly parts: SweepParts) {}

  /** Called often; does little. */
  look(): void {
    const { commit, log, store } = this.parts;
    const now = performance.now();
    if (this.running || now < this.expiry) return;
    this.expiry = now + EXPIRY;
    const lost = store.problem();
    if (lost !== null && !this.lost) log.error({ err: lost }, "the store is gone: every call is refused");
    if (lost !== null || this.lost) commit.refuse(lost);
    this.lost = lost !== null;
    if (this.lost) return;
    this.running = true;
    this.end(now)
      .catch((thrown: unknown) =>
        log.warn({ err: thrown }, "what time or a dead process has ended could not be written"),
      )
      .finally(() => {
        this.running = false;
      });
  }

  private async end(now: number): Promise<void> {
    const { commit, counts, ends, events, gateways, running, store } = this.parts;
    // Some in one transaction: the calls of everybody come in between.
    if (await ends.anyDue(store.now())) while (await commit.write((batch) => ends.expireDue(batch)));
    if (now >= this.left) {
      this.left = now + LEFT;
      let killed = await ends.ofKilled();
      for (; killed !== null; killed = await ends.ofKilled()) await voidAll({ commit, ends }, killed);
      if (await gateways.anyGone(store.now()))
        while (await commit.write((batch) => gateways.recoverGone(batch)));
      if (await running.anyLeft()) await commit.write(() => running.removeLeft());
    }
    if (now >= this.prune) {
      this.prune = now + PRUNE;
      await commit.write(async (batch) => {
        await events.forgetOld(batch.now);
        await counts.prune(batch.now);
      });
    }
  }
}
