import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Principal } from "../../client/backend.js";
import type { Exchange } from "../request.js";
import type { ClientPort, Scope } from "../scope.js";
import { EventStream } from "./event-stream.js";
import { PostExchange } from "./post-exchange.js";

/** Characters of events kept for clients that come back, all ended streams of a session together. */
const KEPT = 8 * 1024 * 1024;
const KEPT_STREAMS = 64;
/** The stream for what belongs to no request. */
const STANDALONE = 0;

/** A legacy session over Streamable HTTP: one scope, bound to the principal and the path it was opened under. */
export class HttpSession implements ClientPort {
  readonly id = randomBytes(18).toString("base64url");
  lastUsed = performance.now();
  private streams = new Map<number, EventStream>([[STANDALONE, new EventStream(STANDALONE)]]);
  private nextStream = 1;
  private readonly waiting = new Set<PostExchange>();
  private bound: Scope | null = null;

  constructor(
    readonly principal: Principal,
    readonly path: string,
    /** The token it was opened with: looked at again while the session lives. */
    readonly credential: string,
  ) {}

  get scope(): Scope {
    if (this.bound === null) throw new Error("the session has no scope yet");
    return this.bound;
  }

  set scope(scope: Scope) {
    this.bound = scope;
  }

  /** The same credential and the same endpoint: a session id alone opens nothing (threat T7). */
  belongsTo(principal: Principal, path: string): boolean {
    return (
      this.path === path && this.principal.token === principal.token && this.principal.name === principal.name
    );
  }

  exchange(request: IncomingMessage, response: ServerResponse, onOver = (): void => {}): Exchange {
    const exchange = new PostExchange(
      request,
      response,
      this.id,
      () => this.open(),
      (over) => {
        this.waiting.delete(over);
        onOver();
      },
    );
    this.waiting.add(exchange);
    return exchange;
  }

  /** To the GET stream; without one to a request that is open at the same server; else kept until there is one. */
  send(text: string, hint: Exchange | null): void {
    const standalone = this.streams.get(STANDALONE);
    if (standalone?.connected || hint === null) standalone?.push(text);
    else hint.send(text);
  }

  /** A GET: the standalone stream, or the one a `Last-Event-ID` belongs to. False where there is no such stream. */
  listen(response: ServerResponse, lastEventId: string | undefined): boolean {
    const [stream, after] = (lastEventId ?? "").split("-").map(Number);
    const wanted = lastEventId === undefined ? STANDALONE : stream;
    const found = wanted === undefined ? undefined : this.streams.get(wanted);
    if (found === undefined) return false;
    found.attach(response, after === undefined || Number.isNaN(after) ? null : after, this.id);
    return true;
  }

  tick(now: number): void {
    for (const exchange of this.waiting) exchange.tick(now);
    for (const stream of this.streams.values()) stream.keepAlive(now);
  }

  /** Milliseconds since anybody used it; 0 while a request or a stream is open. */
  idle(now: number): number {
    const listening = [...this.streams.values()].some((stream) => stream.connected);
    return listening || this.waiting.size > 0 ? 0 : now - this.lastUsed;
  }

  async end(): Promise<void> {
    await this.bound?.end();
    for (const exchange of this.waiting) exchange.close();
    for (const stream of this.streams.values()) stream.end();
    this.streams = new Map();
  }

  private open(): EventStream {
    const stream = new EventStream(this.nextStream++);
    this.streams.set(stream.id, stream);
    // Whoever has not come back for an answer after so many others will not come.
    const ended = [...this.streams.values()].filter((kept) => kept.ended);
    let size = ended.reduce((sum, kept) => sum + kept.size, 0);
    while (ended.length > KEPT_STREAMS || size > KEPT) {
      const oldest = ended.shift();
      if (oldest === undefined) break;
      size -= oldest.size;
      this.streams.delete(oldest.id);
    }
    return stream;
  }
}
