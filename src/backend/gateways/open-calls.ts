import type { Batch } from "../batch.js";

/**
 * The calls of the gateways of this process that were decided and have not ended. What they give is the mark of a
 * heartbeat: the ledger up to it holds no call of ours that is open, so that whoever finds us dead reads only what is
 * behind it.
 */
export class OpenCalls {
  /** Only of these: a gateway on another machine may decide here and end elsewhere. It keeps its own mark. */
  readonly gateways = new Set<string>();
  /** In the order of their records. */
  private readonly calls = new Map<string, number>();
  private head = 0;

  /** Takes over what a transaction has made durable. */
  committed(batch: Batch): void {
    this.head = Math.max(this.head, batch.records.last);
    for (const [call, { gateway, record }] of batch.started)
      if (this.gateways.has(gateway) && !this.calls.has(call)) this.calls.set(call, record);
    for (const call of batch.ended) this.calls.delete(call);
  }

  /** Id of a record. */
  mark(): number {
    for (const oldest of this.calls.values()) return oldest - 1;
    return this.head;
  }
}
