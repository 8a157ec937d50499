import type { IncomingMessage, ServerResponse } from "node:http";
import type { Exchange } from "../request.js";
import type { EventStream } from "./event-stream.js";

/** Characters from which on a body is encoded before it is written. */
const LONG = 16_384;
/** A POST that takes longer than this is answered with a stream, so that it stays alive and can be resumed. */
const PATIENCE = 1000;

/**
 * The way back for one request that came by POST. A plain answer is a JSON body; as soon as something else is to be
 * said first, or it takes long, it becomes an event stream.
 */
export class PostExchange implements Exchange {
  private stream: EventStream | null = null;
  private over = false;
  private readonly startedAt = performance.now();
  private readonly streams: boolean;

  constructor(
    request: IncomingMessage,
    private readonly response: ServerResponse,
    private readonly sessionId: string,
    private readonly newStream: () => EventStream,
    private readonly onOver: (exchange: PostExchange) => void,
  ) {
    this.streams = /text\/event-stream|\*\/\*/.test(request.headers.accept ?? "*/*");
  }

  answer(text: string): void {
    if (this.stream === null) this.plain(200, text);
    else {
      this.stream.push(text);
      this.stream.end();
    }
    this.finish();
  }

  send(text: string): void {
    this.upgrade()?.push(text);
  }

  close(): void {
    if (this.stream === null) this.plain(202, null);
    else this.stream.end();
    this.finish();
  }

  /** Called now and then while the request is open. */
  tick(now: number): void {
    if (this.stream === null && now - this.startedAt > PATIENCE) this.upgrade();
  }

  private upgrade(): EventStream | null {
    if (this.over || !this.streams) return null;
    if (this.stream === null) {
      this.stream = this.newStream();
      if (!this.response.destroyed) this.stream.attach(this.response, null, this.sessionId);
      this.stream.prime();
    }
    return this.stream;
  }

  private plain(status: number, text: string | null): void {
    const { response } = this;
    if (this.over || response.destroyed) return;
    if (text === null) {
      response.writeHead(status, ["mcp-session-id", this.sessionId]).end();
      return;
    }
    // Short ones as a string, which Node joins with the head; long ones encoded once. Headers in an array are not
    // looked up one by one.
    const body = text.length < LONG ? text : Buffer.from(text, "utf8");
    response
      .writeHead(status, [
        "mcp-session-id",
        this.sessionId,
        "content-type",
        "application/json",
        "content-length",
        String(Buffer.byteLength(body)),
      ])
      .end(body);
  }

  private finish(): void {
    if (this.over) return;
    this.over = true;
    this.onOver(this);
  }
}
