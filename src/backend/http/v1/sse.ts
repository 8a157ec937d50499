import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type EndWire, endEvent } from "../../../client/wire/gateways.js";
import { HttpError } from "../errors.js";
import type { Streams } from "../streams.js";

/** Milliseconds between two comments: a connection that is dead is noticed on both sides. */
const ALIVE = 2_000;
/** Milliseconds a reader may take until it has read what was written: then it is cut off, and comes back by its id. */
const PATIENCE = 10_000;
/** Milliseconds a response that was ended has to get rid of its last bytes. */
const LAST_BYTES = 1_000;
/** Streams of one credential, where nothing else is said. */
const MOST_OF_ONE = 64;
/** Streams in all. */
const MOST = 4_096;

const sentences: Record<EndWire["reason"], string> = {
  slow: "The reader was too slow; it goes on behind the last id it has.",
  credential: "The credential is not valid any more.",
  stopping: "The backend stops.",
  failed: "The backend could not read what comes next; it goes on behind the last id the reader has.",
};

const openOf = new WeakMap<Streams, Map<string, number>>();

/**
 * A response of Server-Sent Events. What is written and not read is bounded: writers wait for `ready`, which is false
 * where the reader is gone or too slow.
 */
export class SseResponse {
  /** Settles when it is over, for whatever reason. */
  readonly over: Promise<void>;
  private ended = false;
  private readonly alive: NodeJS.Timeout;

  private constructor(
    private readonly response: FastifyReply["raw"],
    private readonly patience: number,
    headers: OutgoingHttpHeaders,
  ) {
    this.over = new Promise((resolve) => {
      response.once("close", () => {
        this.ended = true;
        clearInterval(this.alive);
        resolve();
      });
    });
    // A reader that left is no fault: `close` comes too.
    response.on("error", () => {});
    response.writeHead(200, {
      ...headers,
      "content-type": "text/event-stream",
      "cache-control": "no-store, no-transform",
      // nginx keeps streams back without it.
      "x-accel-buffering": "no",
    });
    // The first bytes tell the client that it listens now.
    response.write(": aegis\n\n");
    this.alive = setInterval(() => {
      if (!response.writableNeedDrain) response.write(":\n\n");
    }, ALIVE);
  }

  /**
   * Takes the response over from Fastify.
   *
   * @param limits `most`: streams of one credential; `patience`: milliseconds a reader may take
   * @throws HttpError 429, 503 where there are too many
   */
  static open(
    request: FastifyRequest,
    reply: FastifyReply,
    streams: Streams,
    { most = MOST_OF_ONE, patience = PATIENCE }: { readonly most?: number; readonly patience?: number } = {},
  ): SseResponse {
    const { token, name } = request.principal;
    const counts = openOf.get(streams) ?? new Map<string, number>();
    openOf.set(streams, counts);
    const whose = `${token ?? ""} ${name}`;
    const count = counts.get(whose) ?? 0;
    if (count >= most) throw new HttpError(429, `${name} has ${count} streams open already.`);
    if (streams.open >= MOST) throw new HttpError(503, `There are ${MOST} streams open already.`);
    if (reply.raw.destroyed) throw new HttpError(400, "The client has left.");
    counts.set(whose, count + 1);
    let stream: SseResponse | null = null;
    let why: EndWire["reason"] | null = null;
    const release = streams.hold(request, (reason) => {
      why = reason;
      stream?.end(reason);
    });
    reply.hijack();
    const opened = new SseResponse(reply.raw, patience, reply.getHeaders() as OutgoingHttpHeaders);
    stream = opened;
    if (why !== null) opened.end(why);
    reply.raw.once("close", () => {
      release();
      const left = (counts.get(whose) ?? 1) - 1;
      if (left === 0) counts.delete(whose);
      else counts.set(whose, left);
    });
    return opened;
  }

  get isOver(): boolean {
    return this.ended;
  }

  /** @param data text without line breaks, such as JSON */
  write(id: number | null, event: string | null, data: string): void {
    if (this.ended) return;
    const name = event === null ? "" : `event: ${event}\n`;
    const number = id === null ? "" : `id: ${id}\n`;
    this.response.write(`${number}${name}data: ${data}\n\n`);
  }

  /** True once more may be written; false where nothing may: the reader is gone, or was cut off as too slow. */
  async ready(): Promise<boolean> {
    if (this.ended) return false;
    if (!this.response.writableNeedDrain) return true;
    let timer: NodeJS.Timeout | undefined;
    const drained = new Promise<boolean>((resolve) => {
      this.response.once("drain", () => resolve(true));
      timer = setTimeout(() => resolve(false), this.patience);
    });
    const wellRead = await Promise.race([drained, this.over.then(() => false)]);
    clearTimeout(timer);
    if (!wellRead) this.end("slow");
    return wellRead && !this.ended;
  }

  /** Says why, and closes; a reader that takes nothing is left behind. */
  end(reason: EndWire["reason"]): void {
    if (this.ended) return;
    this.write(null, endEvent, JSON.stringify({ reason, detail: sentences[reason] } satisfies EndWire));
    this.ended = true;
    clearInterval(this.alive);
    this.response.end();
    setTimeout(() => this.response.destroy(), LAST_BYTES).unref();
  }
}

/** The header goes before the query: a browser repeats the query when it reconnects. */
export function lastEventId(request: FastifyRequest, after: number | undefined): number | undefined {
  const sent = request.headers["last-event-id"];
  if (sent === undefined || sent === "") return after;
  const number = typeof sent === "string" && /^\d{1,15}$/.test(sent) ? Number(sent) : null;
  if (number !== null) return number;
  throw new HttpError(422, [
    { loc: ["header", "last-event-id"], msg: "Not the id of an event.", type: "value_error" },
  ]);
}
