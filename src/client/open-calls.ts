/**
 * The calls that were asked about and have not ended at the backend. What they give is the mark of a heartbeat: the
 * ledger up to it holds no open call of this gateway, so that whoever finds it dead reads only what is behind it.
 */
export class OpenCalls {
  /** Of each call, the newest record that is surely older than its decision. */
  private readonly floors = new Map<string, number>();
  private newest = 0;

  /** Before the question: the decision may be written though its answer never comes. */
  asked(call: string): void {
    if (!this.floors.has(call)) this.floors.set(call, this.newest);
  }

  decided(call: string, record: number): void {
    this.newest = Math.max(this.newest, record);
    this.floors.set(call, Math.max(this.floors.get(call) ?? 0, record - 1));
  }

  /** A later record of a call that stays open. */
  seen(record: number): void {
    this.newest = Math.max(this.newest, record);
  }

  ended(call: string): void {
    this.floors.delete(call);
  }

  get isEmpty(): boolean {
    return this.floors.size === 0;
  }

  has(call: string): boolean {
    return this.floors.has(call);
  }

  /** Id of a record. */
  mark(): number {
    let least = this.newest;
    for (const floor of this.floors.values()) least = Math.min(least, floor);
    return least;
  }
}
