import { StringDecoder } from "node:string_decoder";
import { createParser } from "eventsource-parser";

/** Reads a Server-Sent Events stream: frames out, and what a later connection needs to go on from here. */
export class SseReader {
  /** Id of the newest event that had one: where a reconnect resumes. */
  lastEventId: string | null = null;
  /** Milliseconds to wait before a reconnect, as the server asked. */
  retry = 1000;
  private readonly decoder = new StringDecoder("utf8");
  private sinceEvent = 0;
  private readonly parser;

  constructor(
    private readonly limit: number,
    onFrame: (text: string) => void,
  ) {
    this.parser = createParser({
      onEvent: (event) => {
        this.sinceEvent = 0;
        if (event.id !== undefined) this.lastEventId = event.id;
        // An event without data only primes the stream with an id (2025-11-25, Streamable HTTP, "Sending messages").
        if (event.data !== "") onFrame(event.data);
      },
      onRetry: (interval) => {
        this.retry = Math.min(Math.max(interval, 10), 30_000);
      },
    });
  }

  /** @throws RangeError where one event grows over the limit */
  push(chunk: Buffer): void {
    this.sinceEvent += chunk.length;
    this.parser.feed(this.decoder.write(chunk));
    if (this.sinceEvent > this.limit + chunk.length)
      throw new RangeError(`an event is over ${this.limit} bytes`);
  }
}
