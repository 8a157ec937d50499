import { randomBytes } from "node:crypto";
import type { ServerConfig } from "../../config.js";
import { AegisError, reasonOf } from "../../errors.js";
import { isObject, parseServerFrame } from "../../frame/parse.js";
import { spanAt, splice } from "../../frame/text.js";
import type { Json, RequestFrame, ResponseFrame, ServerFrame } from "../../frame/types.js";
import type { Logger } from "../../log.js";
import { OpenRequests, type Reply, type RequestOptions } from "./open-requests.js";
import { Slots } from "./slots.js";
import { StdioTransport } from "./stdio.js";
import type { Guard, Transport } from "./transport.js";

/** What a link tells the scope it belongs to. */
export interface LinkOwner {
  fromServer(link: ServerLink, frame: Exclude<ServerFrame, ResponseFrame>, about: string | null): void;
  /** The connection died: what was known of the server may not hold for the next one. */
  lost(link: ServerLink): void;
  /** A new connection took the place of one that died: whatever was set on the old one is gone. */
  reconnected(link: ServerLink): void;
  /** The server ended before it was ever initialized, or does not stay up. `code` is its exit code. */
  gaveUp(link: ServerLink, code: number | null): void;
}

/** A client's request on its way. */
export interface Outgoing {
  readonly text: string;
  /** The client's id. */
  readonly key: string;
  /** The id on the wire, once it was sent: the client's own, unless that is still taken. */
  wire: string | null;
}

type ExchangeOptions = Omit<RequestOptions, "expired"> & Partial<Pick<RequestOptions, "expired">>;

const FIRST_RETRY = 100;
/** An allowed call must work again within 5 s of the end of a fault (invariant 10). */
const LAST_RETRY = 3000;
/** A connection that lived this long did not fail at start. */
const SETTLED = 5000;
const GIVE_UP = 5;

/**
 * One server as one scope sees it: a connection of its own, re-made when it dies, with the requests that are open on
 * it. Connections are not shared between scopes, so the client's own ids and progress tokens can stand on the wire.
 */
export class ServerLink {
  /** Counts the connections: what belonged to an earlier one can never be answered by a later one. */
  generation = 0;
  /** `result` of the last handshake. */
  initialized: Json | undefined;
  readonly slots: Slots;
  private transport: Transport | undefined;
  /** The making of `transport`, until it is gone. */
  private opening: Promise<void> | undefined;
  private readonly requests = new OpenRequests();
  /** The client's own `initialize`, to be said again to a new connection. */
  private hello: RequestFrame | undefined;
  private up = false;
  private starting: Promise<void> | undefined;
  private failures = 0;
  private startFailed = false;
  private retryAt = 0;
  private upSince = 0;
  private closed = false;
  private counter = 0;
  private readonly prefix = `aegis-${randomBytes(6).toString("base64url")}`;

  constructor(
    readonly server: ServerConfig,
    private readonly owner: LinkOwner,
    private readonly frameLimit: number,
    private readonly log: Logger,
  ) {
    this.slots = new Slots(server.concurrency);
  }

  get key(): string {
    return this.server.key;
  }

  get isUp(): boolean {
    return this.up;
  }

  /** Its last start came to nothing. It is tried again by itself, and `reconnected` says when it is there. */
  get isFailing(): boolean {
    return this.startFailed;
  }

  /** Starts the server's process ahead of the handshake. */
  open(): Promise<void> {
    this.opening ??= this.connect();
    return this.opening;
  }

  /** The handshake in the client's own words: its `initialize` as it is, and the server's answer as it is. */
  initializeVerbatim(frame: RequestFrame): Promise<Reply> {
    this.hello = frame;
    const shaking = (async () => {
      await this.open();
      const reply = await this.shake(frame.text, frame.key);
      if (reply.kind === "answer") this.handshakeAnswered(reply.frame);
      return reply;
    })();
    // A client may send more before it has the answer: that waits for this handshake instead of starting another.
    const starting = shaking
      .then(() => {
        if (!this.up) throw unavailable(this.key, "it did not accept the handshake");
      })
      .finally(() => {
        this.starting = undefined;
      });
    starting.catch(() => {});
    this.starting = starting;
    return shaking;
  }

  /** The handshake on behalf of a client that is told about many servers at once. */
  async initialize(frame: RequestFrame): Promise<void> {
    this.hello = frame;
    await this.ready();
  }

  /** `notifications/initialized` has been sent by the client, in its own words. */
  async clientInitialized(text: string): Promise<void> {
    await this.starting?.catch(() => {});
    await this.notify(text);
    this.transport?.listen();
  }

  /**
   * Resolves when the server is connected and initialized; re-makes the connection where it died.
   *
   * @throws AegisError server_unavailable
   */
  async ready(): Promise<void> {
    if (this.up) return;
    if (this.closed) throw unavailable(this.key, "the connection is closed");
    if (this.hello === undefined) throw unavailable(this.key, "the client has not initialized it yet");
    this.starting ??= this.start(this.hello).finally(() => {
      this.starting = undefined;
    });
    await this.starting;
  }

  /**
   * Sends a client's request and waits for its answer.
   *
   * @throws NotSent, or what `guard` threw: not a byte was sent
   */
  forward(request: Outgoing, guard?: Guard): Promise<Reply> {
    const { text, key } = request;
    const { timeout } = this.server;
    if (!this.requests.has(key)) {
      request.wire = key;
      return this.exchange(text, key, { timeout, guard });
    }
    const id = spanAt(text, "id");
    request.wire = this.nextId();
    const renamed = id === undefined ? text : splice(text, id, request.wire);
    return this.exchange(renamed, request.wire, { timeout, guard, restore: key });
  }

  /** A request of the gateway's own. @throws AegisError server_unavailable where there is no result */
  async request(method: string, params: Json): Promise<Extract<Reply, { kind: "answer" }>> {
    const id = this.nextId();
    const text = `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)},"params":${JSON.stringify(params)}}`;
    const reply = await this.exchange(text, id, { timeout: this.server.startTimeout });
    if (reply.kind !== "answer") throw unavailable(this.key, reply.reason);
    if (reply.frame.result === undefined)
      throw unavailable(this.key, `${method} failed: ${describe(reply.frame.error)}`);
    return reply;
  }

  /** A notification, or an answer to a request of the server. */
  async notify(text: string): Promise<void> {
    if (this.transport === undefined) return;
    await this.transport.send(text);
  }

  /** Takes a request back: the server is told, its late answer is dropped. */
  withdraw(key: string, reason: string): void {
    if (!this.requests.withdraw(key, reason)) return;
    const params = `{"requestId":${key},"reason":${JSON.stringify(reason)}}`;
    this.notify(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":${params}}`)
      .catch((thrown: unknown) =>
        this.log.debug({ server: this.key, reason: reasonOf(thrown) }, "cancel not sent"),
      )
      .finally(() => this.transport?.abandon(key));
  }

  /** Progress came for this request: it is alive. */
  touch(key: string): void {
    this.requests.touch(key);
  }

  /** Resolves with the exit code of a process that ended by itself, else null. */
  async close(): Promise<number | null> {
    if (this.closed) return null;
    this.closed = true;
    this.up = false;
    this.requests.loseAll("the connection was closed");
    return (await this.transport?.close()) ?? null;
  }

  private nextId(): string {
    return `"${this.prefix}-${++this.counter}"`;
  }

  private async connect(): Promise<void> {
    const generation = ++this.generation;
    try {
      const transport = await this.newTransport(generation);
      if (this.closed) throw unavailable(this.key, "the connection is closed");
      this.transport = transport;
      await transport.open();
    } catch (thrown) {
      this.transport = undefined;
      this.opening = undefined;
      this.requests.loseAll(reasonOf(thrown));
      throw thrown;
    }
  }

  private async newTransport(generation: number): Promise<Transport> {
    const { server, log } = this;
    const current = (): boolean => generation === this.generation && !this.closed;
    const events = {
      frame: (text: string, about: string | null): void => {
        if (current()) this.received(text, about);
      },
      failed: (key: string, reason: string): void => {
        if (current()) this.requests.lose(key, reason);
      },
      closed: (reason: string, code: number | null): void => {
        if (current()) this.died(reason, code);
      },
    };
    if (server.kind === "stdio") return new StdioTransport(server.key, server, this.frameLimit, events, log);
    // undici takes 100 ms to load: not where every server is a process.
    const { HttpTransport } = await import("./http.js");
    // Some to spare: notifications and the GET stream must not wait behind calls.
    return new HttpTransport(server.key, server, this.frameLimit, events, log, server.concurrency + 8);
  }

  private async start(hello: RequestFrame): Promise<void> {
    const wait = this.retryAt - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    if (this.closed) throw unavailable(this.key, "the connection is closed");
    const again = this.generation > 0;
    try {
      await this.open();
      const id = this.nextId();
      const text = hello.spans.id === undefined ? hello.text : splice(hello.text, hello.spans.id, id);
      const reply = await this.shake(text, id);
      if (reply.kind !== "answer") throw unavailable(this.key, reply.reason);
      if (reply.frame.result === undefined) throw unavailable(this.key, describe(reply.frame.error));
      this.handshakeAnswered(reply.frame);
      await this.notify('{"jsonrpc":"2.0","method":"notifications/initialized"}');
      this.transport?.listen();
    } catch (thrown) {
      await this.failed();
      throw thrown;
    }
    if (again) this.owner.reconnected(this);
  }

  private handshakeAnswered(frame: ResponseFrame): void {
    if (!isObject(frame.result)) return;
    this.initialized = frame.result;
    this.up = true;
    this.startFailed = false;
    this.upSince = performance.now();
    if (typeof frame.result.protocolVersion === "string")
      this.transport?.negotiated(frame.result.protocolVersion);
  }

  /** The specification forbids to cancel `initialize`: out of time, it is only given up. */
  private shake(text: string, key: string): Promise<Reply> {
    const expired = (id: string, reason: string): void => this.requests.lose(id, reason);
    return this.exchange(text, key, { timeout: this.server.startTimeout, expired });
  }

  private async exchange(text: string, key: string, options: ExchangeOptions): Promise<Reply> {
    if (this.transport === undefined) throw unavailable(this.key, "it is not running");
    return this.requests.send(this.transport, text, key, { expired: this.expired, ...options });
  }

  private readonly expired = (key: string, reason: string): void => this.withdraw(key, reason);

  private received(text: string, about: string | null): void {
    let frame: ServerFrame;
    try {
      frame = parseServerFrame(text);
    } catch (thrown) {
      this.log.warn(
        { server: this.key, reason: reasonOf(thrown) },
        "the server sent what is no frame; dropped",
      );
      return;
    }
    if (frame.kind !== "response") {
      try {
        this.owner.fromServer(this, frame, about);
      } catch (thrown) {
        this.log.warn({ server: this.key, reason: reasonOf(thrown) }, "a message of the server was dropped");
      }
      return;
    }
    if (frame.key === null || !this.requests.answer(frame.key, text, frame)) {
      this.log.warn({ server: this.key, id: frame.key }, "the server answered what nobody asked; dropped");
      return;
    }
    this.transport?.answered(frame.key);
  }

  private died(reason: string, code: number | null): void {
    const wasUp = this.up;
    this.up = false;
    this.transport?.close().catch((thrown: unknown) => this.log.warn({ server: this.key }, reasonOf(thrown)));
    this.transport = undefined;
    this.opening = undefined;
    this.log.warn({ server: this.key }, reason);
    this.owner.lost(this);
    this.requests.loseAll(reason);
    if (wasUp && performance.now() - this.upSince > SETTLED) this.failures = 0;
    if (this.initialized === undefined || ++this.failures >= GIVE_UP) this.owner.gaveUp(this, code);
    this.scheduleRestart();
  }

  /** A start that did not come to an answered handshake. */
  private async failed(): Promise<void> {
    const { transport } = this;
    this.transport = undefined;
    this.opening = undefined;
    this.generation++;
    this.failures++;
    this.startFailed = true;
    this.requests.loseAll("the server did not start");
    this.scheduleRestart();
    await transport?.close();
  }

  private scheduleRestart(): void {
    if (this.closed || this.hello === undefined) return;
    const wait = Math.min(FIRST_RETRY * 2 ** Math.max(this.failures - 1, 0), LAST_RETRY);
    this.retryAt = performance.now() + wait;
    setTimeout(() => {
      if (this.closed || this.up) return;
      this.ready().catch((thrown: unknown) => this.log.warn({ server: this.key }, reasonOf(thrown)));
    }, wait).unref();
  }
}

function unavailable(key: string, reason: string): AegisError {
  return new AegisError("server_unavailable", `The server ${key} is not available: ${reason}.`, {
    hint: "`aegis doctor --config FILE` starts each server and says what is wrong.",
  });
}

function describe(error: unknown): string {
  return isObject(error) && typeof error.message === "string"
    ? error.message
    : "it answered without a result";
}
