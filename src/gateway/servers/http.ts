import { type Dispatcher, Pool } from "undici";
import type { HttpServer } from "../../config.js";
import { reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";
import { type ResponseEvents, ResponseHandler } from "./response.js";
import type { SseReader } from "./sse.js";
import { NotSent, type SendOptions, type Transport, type TransportEvents } from "./transport.js";

/** A request whose answer is outstanding. */
interface Open {
  wanted: boolean;
  controller: Dispatcher.DispatchController | undefined;
}

/** A server behind Streamable HTTP (2025-03-26 … 2025-11-25): a POST for each frame, one GET stream for the rest. */
export class HttpTransport implements Transport {
  private readonly pool: Pool;
  private readonly outstanding = new Map<string, Open>();
  private readonly headers: Record<string, string>;
  private readonly path: string;
  private session: string | undefined;
  private over = false;
  private listening: Dispatcher.DispatchController | undefined;

  constructor(
    private readonly key: string,
    server: HttpServer,
    private readonly frameLimit: number,
    private readonly events: TransportEvents,
    private readonly log: Logger,
    connections: number,
  ) {
    // No header or body timeout: a call may be silent for as long as `timeout` allows, a stream for ever.
    this.pool = new Pool(server.url.origin, {
      connections,
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says (threat T11).
      connect: { rejectUnauthorized: true },
    });
    this.path = `${server.url.pathname}${server.url.search}`;
    this.headers = { "user-agent": "aegis-sentinel", ...Object.fromEntries(server.headers) };
  }

  async open(): Promise<void> {}

  send(text: string, { key, guard }: SendOptions = {}): Promise<void> {
    if (this.over) return Promise.reject(new NotSent(`the connection to ${this.key} is closed`));
    const open: Open = { wanted: true, controller: undefined };
    if (key !== undefined) this.outstanding.set(key, open);
    return new Promise((resolve, reject) => {
      let started = false;
      this.post(text, {
        start: (controller) => {
          guard?.();
          open.controller = controller;
          started = true;
          resolve();
        },
        frame: (frame) => this.events.frame(frame, key ?? null),
        end: (reason, reader, status) => {
          if (key === undefined) return;
          // Some servers, the reference one among them, say 400 where the specification wants 404 for a lost session.
          if (status === 400 && this.outstanding.get(key) === open && this.session !== undefined) {
            this.sessionLost();
            return;
          }
          if (this.outstanding.get(key) === open && open.wanted && reader?.lastEventId)
            this.resume(key, open, reader);
          else this.lost(key, open, reason);
        },
        error: (error) => {
          if (!started) {
            if (key !== undefined) this.outstanding.delete(key);
            reject(
              "code" in error ? new NotSent(`${this.key} could not be reached: ${error.message}`) : error,
            );
          } else if (key !== undefined)
            this.lost(key, open, `the connection to ${this.key} broke: ${error.message}`);
        },
      });
    });
  }

  answered(key: string): void {
    this.outstanding.delete(key);
  }

  abandon(key: string): void {
    const open = this.outstanding.get(key);
    if (open === undefined) return;
    this.outstanding.delete(key);
    open.wanted = false;
    open.controller?.abort(new Error("no longer wanted"));
  }

  negotiated(protocolVersion: string): void {
    // Before 2025-06-18 no version header was known; a server that does not know it ignores it.
    this.headers["mcp-protocol-version"] = protocolVersion;
  }

  listen(): void {
    this.listenFrom(null, 0);
  }

  async close(): Promise<null> {
    if (this.pool.destroyed) return null;
    this.over = true;
    this.listening?.abort(new Error("closed"));
    for (const open of this.outstanding.values()) open.controller?.abort(new Error("closed"));
    if (this.session !== undefined) {
      const path = this.path;
      const headers = this.requestHeaders();
      await Promise.race([
        this.pool.request({ method: "DELETE", path, headers }).then((answer) => answer.body.dump()),
        new Promise((resolve) => setTimeout(resolve, 500).unref()),
      ]).catch((thrown: unknown) =>
        this.log.debug({ server: this.key, reason: reasonOf(thrown) }, "DELETE failed"),
      );
    }
    await this.pool.destroy();
    return null;
  }

  private lost(key: string, open: Open, reason: string): void {
    if (this.outstanding.get(key) !== open) return;
    this.outstanding.delete(key);
    if (open.wanted) this.events.failed(key, reason);
  }

  private requestHeaders(): Record<string, string> {
    return this.session === undefined ? this.headers : { ...this.headers, "mcp-session-id": this.session };
  }

  private post(text: string, on: ResponseEvents): void {
    const headers = {
      ...this.requestHeaders(),
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
    };
    this.pool.dispatch(
      { method: "POST", path: this.path, headers, body: text },
      new ResponseHandler(this.frameLimit, on, (status, session) => this.status(status, session)),
    );
  }

  /** True where the answer's body is worth reading. */
  private status(status: number, session: string | undefined): boolean {
    if (session !== undefined && this.session === undefined) this.session = session;
    if (status !== 404 || this.session === undefined || this.over) return true;
    // 2025-11-25, "Session Management": 404 on a session means that it is gone, with everything in it.
    this.sessionLost();
    return false;
  }

  private sessionLost(): void {
    if (this.over) return;
    this.session = undefined;
    this.over = true;
    const reason = `the server ${this.key} ended the session`;
    queueMicrotask(() => this.events.closed(reason, null));
  }

  /** The server closed the stream of a request early and named an event: the answer comes on a GET from there. */
  private resume(key: string, open: Open, from: SseReader): void {
    setTimeout(() => {
      if (this.over || this.outstanding.get(key) !== open) return;
      this.get(from.lastEventId, {
        start: (controller) => {
          open.controller = controller;
        },
        frame: (frame) => this.events.frame(frame, key),
        end: (reason, reader) => {
          if (this.outstanding.get(key) === open && reader !== null)
            this.resume(key, open, reader.lastEventId ? reader : from);
          else this.lost(key, open, reason);
        },
        error: (error) => this.lost(key, open, `the connection to ${this.key} broke: ${error.message}`),
      });
    }, from.retry).unref();
  }

  /** The stream for what belongs to no request; a server without one answers 405. */
  private listenFrom(from: string | null, failures: number): void {
    if (this.over) return;
    let opened = false;
    const again = (reader: SseReader | null): void => {
      const wait = opened ? (reader?.retry ?? 1000) : Math.min(1000 * 2 ** failures, 30_000);
      setTimeout(() => this.listenFrom(reader?.lastEventId ?? from, opened ? 0 : failures + 1), wait).unref();
    };
    this.get(from, {
      start: (controller) => {
        this.listening = controller;
      },
      frame: (frame) => this.events.frame(frame, null),
      end: (_reason, reader) => {
        if (reader === null) return;
        opened = true;
        again(reader);
      },
      error: () => {
        if (!this.over) again(null);
      },
    });
  }

  private get(lastEventId: string | null, on: ResponseEvents): void {
    const headers = { ...this.requestHeaders(), accept: "text/event-stream" };
    this.pool.dispatch(
      {
        method: "GET",
        path: this.path,
        headers: lastEventId === null ? headers : { ...headers, "last-event-id": lastEventId },
      },
      new ResponseHandler(this.frameLimit, on, (status, session) => this.status(status, session)),
    );
  }
}
