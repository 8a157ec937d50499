import type { ServerResponse } from "node:http";
import { oneLine } from "../../frame/text.js";

/** A reader this far behind is cut off; it can come back with the id of the last event it saw. */
const UNREAD = 16 * 1024 * 1024;
const KEEP_ALIVE = 15_000;
const KEPT = 8 * 1024 * 1024;

/**
 * One stream of Server-Sent Events to a client, which outlives the connections it is read on: what was sent is kept,
 * and a connection that comes back gets what it missed (2025-11-25, Streamable HTTP, "Resumability and Redelivery").
 */
export class EventStream {
  private readonly events: { readonly number: number; readonly text: string }[] = [];
  private response: ServerResponse | null = null;
  private count = 0;
  private delivered = 0;
  private writtenAt = performance.now();
  /** Characters kept for replay. */
  size = 0;
  ended = false;

  constructor(
    readonly id: number,
    /** Characters of events kept for a client that comes back. */
    private readonly kept = KEPT,
  ) {}

  get connected(): boolean {
    return this.response !== null;
  }

  /** Starts or goes on with the stream on a connection, behind the event `after`; without it, behind what was delivered. */
  attach(response: ServerResponse, after: number | null, sessionId: string): void {
    this.response?.end();
    this.response = response;
    response.writeHead(200, {
      "mcp-session-id": sessionId,
      "content-type": "text/event-stream",
      "cache-control": "no-cache, no-transform",
      // nginx keeps streams back without it.
      "x-accel-buffering": "no",
    });
    response.flushHeaders();
    response.once("close", () => {
      if (this.response === response) this.response = null;
    });
    const from = after ?? this.delivered;
    for (const event of this.events) if (event.number > from) this.write(event);
    if (this.ended) response.end();
  }

  /** An event without data, so that the client has an id to come back with before anything was said. */
  prime(): void {
    this.response?.write(`id: ${this.id}-0\ndata: \n\n`);
  }

  push(text: string): void {
    const event = { number: ++this.count, text: oneLine(text) };
    this.events.push(event);
    this.size += event.text.length;
    this.trim(this.kept);
    this.write(event);
  }

  end(): void {
    this.ended = true;
    this.response?.end();
  }

  /** Lets go of the oldest events until at most `size` characters are kept. */
  private trim(size: number): void {
    while (this.size > size) {
      const oldest = this.events.shift();
      if (oldest === undefined) break;
      this.size -= oldest.text.length;
    }
  }

  /** A comment where nothing was said for a while: proxies and clients give up on silent streams. */
  keepAlive(now: number): void {
    if (this.response === null || now - this.writtenAt < KEEP_ALIVE) return;
    this.writtenAt = now;
    this.response.write(": keep-alive\n\n");
  }

  private write(event: { number: number; text: string }): void {
    const { response } = this;
    if (response === null) return;
    this.writtenAt = performance.now();
    this.delivered = Math.max(this.delivered, event.number);
    response.write(`id: ${this.id}-${event.number}\nevent: message\ndata: ${event.text}\n\n`);
    if (response.writableLength > UNREAD) response.destroy();
  }
}
