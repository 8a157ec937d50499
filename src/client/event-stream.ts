import { StringDecoder } from "node:string_decoder";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import { type Dispatcher, Pool } from "undici";
import type { BackendAddress } from "./address.js";
import { DEADLINE, ownHeaders } from "./requests.js";

/** Characters of one event: they are small, and a stream without line ends must not fill this process. */
const LONGEST = 256 * 1024;

export interface StreamHandlers {
  /** The backend has begun to answer with events. */
  open(): void;
  event(event: EventSourceMessage): void;
}

/** The stream was refused with this status, or is no event stream. */
export class StreamRefused extends Error {
  constructor(
    readonly status: number,
    what: string,
  ) {
    super(what);
  }
}

/** One connection that reads Server-Sent Events. It notices a peer that is gone: the backend is never silent for long. */
export class EventStream {
  private readonly pool: Pool;
  private end: (error: Error) => void = () => {};

  constructor(
    private readonly address: BackendAddress,
    /** Milliseconds without a byte after which the stream is dead. */
    private readonly silence: number,
  ) {
    this.pool = new Pool(address.origin, {
      connections: 1,
      pipelining: 1,
      // The second: whatever NODE_TLS_REJECT_UNAUTHORIZED says (threat T11).
      connect: { timeout: DEADLINE, rejectUnauthorized: true },
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** Reads until the stream ends, which rejects with why. */
  read(path: string, lastEventId: string, on: StreamHandlers): Promise<never> {
    return new Promise((_resolve, reject) => {
      let controller: Dispatcher.DispatchController | null = null;
      let over = false;
      const end = (error: Error): void => {
        if (over) return;
        over = true;
        clearTimeout(timer);
        reject(error);
        controller?.abort(error);
      };
      const alive = (): void => {
        timer.refresh();
      };
      const timer = setTimeout(
        () => end(new Error(`the stream was silent for ${this.silence} ms`)),
        this.silence,
      );
      this.end = end;
      const decoder = new StringDecoder("utf8");
      const parser = createParser({
        maxBufferSize: LONGEST,
        onEvent: (event) => on.event(event),
        onError: (error) => {
          if (error.type === "max-buffer-size-exceeded") end(error);
        },
      });
      this.pool.dispatch(
        {
          method: "GET",
          path: this.address.prefix + path,
          headers: {
            ...ownHeaders(this.address),
            accept: "text/event-stream",
            "cache-control": "no-cache",
            "last-event-id": lastEventId,
          },
        },
        {
          onRequestStart: (started) => {
            if (over) throw new Error("given up");
            controller = started;
          },
          onResponseStart: (_controller, status, headers) => {
            const type = String(headers["content-type"] ?? "").split(";", 1)[0];
            if (status !== 200 || type?.trim().toLowerCase() !== "text/event-stream")
              return end(new StreamRefused(status, `the event stream was answered with HTTP ${status}`));
            alive();
            on.open();
          },
          onResponseData: (_controller, chunk) => {
            if (over) return;
            alive();
            parser.feed(decoder.write(chunk));
          },
          onResponseEnd: () => end(new Error("the stream ended")),
          onResponseError: (_controller, error) => end(error),
        },
      );
    });
  }

  /** Ends what is being read. */
  stop(reason: string): void {
    this.end(new Error(reason));
  }

  async close(): Promise<void> {
    this.stop("closed");
    await this.pool.destroy();
  }
}
