import { isUtf8 } from "node:buffer";
import type { Dispatcher } from "undici";
import { SseReader } from "./sse.js";

export interface ResponseEvents {
  /** Called right before the first byte is written; throwing keeps it from being written. */
  start(controller: Dispatcher.DispatchController): void;
  frame(text: string): void;
  /** The response is complete. `reader` is null where it was not an event stream. */
  end(reason: string, reader: SseReader | null, status: number): void;
  error(error: Error): void;
}

/** One HTTP response of an MCP server, as frames: a JSON body is one, an event stream many. */
export class ResponseHandler implements Dispatcher.DispatchHandler {
  private reader: SseReader | null = null;
  private chunks: Buffer[] = [];
  private size = 0;
  private status = 0;
  private json = false;

  constructor(
    private readonly limit: number,
    private readonly on: ResponseEvents,
    /** Told of every status and session header; false means that the body is not wanted. */
    private readonly onStatus: (status: number, session: string | undefined) => boolean,
  ) {}

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.on.start(controller);
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    this.status = status;
    const session = headers["mcp-session-id"];
    const wanted = this.onStatus(status, typeof session === "string" ? session : undefined);
    const type = String(headers["content-type"] ?? "")
      .split(";", 1)[0]
      ?.trim()
      .toLowerCase();
    this.json = wanted && type === "application/json";
    if (wanted && status === 200 && type === "text/event-stream") {
      this.reader = new SseReader(this.limit, (text) => this.on.frame(text));
    }
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.reader !== null) {
      this.reader.push(chunk);
      return;
    }
    if (!this.json) return;
    this.size += chunk.length;
    if (this.size > this.limit) throw new RangeError(`the response is over ${this.limit} bytes`);
    this.chunks.push(chunk);
  }

  onResponseEnd(): void {
    if (this.json && this.size > 0) {
      const body =
        this.chunks.length === 1 && this.chunks[0] ? this.chunks[0] : Buffer.concat(this.chunks, this.size);
      // An error status may still carry the JSON-RPC error that answers the request: the link decides by its id.
      if (isUtf8(body)) this.on.frame(body.toString("utf8"));
    }
    const reason =
      this.status >= 400 ? `it answered HTTP ${this.status}` : "the response ended without an answer";
    this.on.end(reason, this.reader, this.status);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.on.error(error);
  }
}
