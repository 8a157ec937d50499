import type { ApprovalStatus, Backend } from "../client/backend.js";

/** Where held calls wait. A waiter is not the approval: leaving the desk changes nothing at the backend. */
export class ApprovalDesk {
  private readonly waiters = new Map<number, Set<(status: ApprovalStatus) => void>>();

  constructor(private readonly backend: Backend) {}

  /** Follows the backend's events until the returned function is called. */
  open(): () => void {
    return this.backend.subscribe(async (event) => {
      if (event.kind === "approval") this.tell(event.id, event.status);
      if (event.kind === "resync") await Promise.all([...this.waiters.keys()].map((id) => this.read(id)));
    });
  }

  /**
   * Tells of every change of the approval from now on, and of its state as it is: a decision that came while the hold
   * was being set up is not missed.
   */
  wait(id: number, tell: (status: ApprovalStatus) => void): () => void {
    const waiting = this.waiters.get(id) ?? new Set();
    waiting.add(tell);
    this.waiters.set(id, waiting);
    this.backend.approval(id).then(
      (approval) => tell(approval.status),
      // Not to be read just now: the event still comes, and if it does not, the wait ends by its own time.
      () => {},
    );
    return () => {
      waiting.delete(tell);
      if (waiting.size === 0) this.waiters.delete(id);
    };
  }

  private tell(id: number, status: ApprovalStatus): void {
    for (const tell of this.waiters.get(id) ?? []) tell(status);
  }

  /** What became of it may have been missed. */
  private async read(id: number): Promise<void> {
    this.tell(id, (await this.backend.approval(id)).status);
  }
}
