import type { FastifyRequest } from "fastify";
import type { App } from "./app.js";
import { HttpError } from "./errors.js";

/** Bytes above which a body is large: reading one of 16 MiB keeps everybody else waiting for some 100 ms. */
export const LARGE = 256 * 1024;
/** Large bodies that are worked on at one time, each of another principal. */
const AT_ONCE = 2;
/** Milliseconds one waits for its turn: a gateway gives up 2 s after it began to send. */
const PATIENCE = 1_000;
/** Bytes of large bodies that are on their way, wait or are worked on: of one principal, and in all. */
const HELD_OF_ONE = 64 * 1024 * 1024;
const HELD = 4 * HELD_OF_ONE;

interface Waiter {
  readonly request: FastifyRequest;
  readonly begin: () => void;
}

const tooMuch = { "retry-after": "1" };

/**
 * Who may have a large body read, and when: one thread reads them all, and every other question, of every agent, waits
 * meanwhile (threat R6). Between two of them there is always room for what is small.
 */
export class LargeBodies {
  private readonly working = new Map<FastifyRequest, string>();
  private readonly waiting: Waiter[] = [];
  private readonly held = new Map<string, number>();
  private heldInAll = 0;

  /**
   * The request is about to send its body.
   *
   * @param over takes what to call when it has its answer, or has left
   * @throws HttpError 429, 503 where too much is on its way already
   */
  admit(request: FastifyRequest, over: (listener: () => void) => void): void {
    const bytes = announced(request);
    if (bytes <= LARGE) return;
    const whose = keyOf(request);
    const own = this.held.get(whose) ?? 0;
    if (own > 0 && own + bytes > HELD_OF_ONE)
      throw new HttpError(429, "Too many large bodies of this principal are on their way.", tooMuch);
    if (this.heldInAll > 0 && this.heldInAll + bytes > HELD)
      throw new HttpError(503, "Too many large bodies are on their way.", tooMuch);
    this.held.set(whose, own + bytes);
    this.heldInAll += bytes;
    over(() => {
      const left = (this.held.get(whose) ?? bytes) - bytes;
      if (left === 0) this.held.delete(whose);
      else this.held.set(whose, left);
      this.heldInAll -= bytes;
    });
  }

  /**
   * Resolves when the body of this request may be read. `done` must follow.
   *
   * @throws HttpError 503 where its turn does not come in time
   */
  async turn(request: FastifyRequest): Promise<void> {
    if (this.isFree(request)) this.working.set(request, keyOf(request));
    else await this.wait(request);
    // Whoever has left is not worked for.
    if (request.raw.socket.destroyed) throw new HttpError(400, "The client has left.");
  }

  /** The answer is there: until then the backend worked on it, whether or not the client has left. */
  done(request: FastifyRequest): void {
    if (!this.working.delete(request)) return;
    const next = this.waiting.findIndex((waiter) => this.isFree(waiter.request));
    if (next >= 0) this.waiting.splice(next, 1)[0]?.begin();
  }

  private isFree(request: FastifyRequest): boolean {
    const whose = keyOf(request);
    return this.working.size < AT_ONCE && ![...this.working.values()].includes(whose);
  }

  private wait(request: FastifyRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.splice(this.waiting.indexOf(waiter), 1);
        reject(new HttpError(503, "Other large bodies are being worked on; this one was not.", tooMuch));
      }, PATIENCE);
      const waiter: Waiter = {
        request,
        begin: () => {
          clearTimeout(timer);
          this.working.set(request, keyOf(request));
          resolve();
        },
      };
      this.waiting.push(waiter);
    });
  }
}

/** Has the bodies of this server read in turn. */
export function readLargeBodiesInTurn(app: App): void {
  const large = new LargeBodies();
  const parse = app.getDefaultJsonParser("error", "error");
  app.addHook("onRequest", (request, reply, done) => {
    large.admit(request, (listener) => reply.raw.once("close", listener));
    done();
  });
  app.removeContentTypeParser("application/json");
  const parsed = (request: FastifyRequest, body: Buffer): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const done = (error: Error | null, value?: unknown): void =>
        error === null ? resolve(value) : reject(error);
      Promise.resolve(parse(request, body.toString("utf8"), done)).catch(reject);
    });
  app.addContentTypeParser(
    "application/json",
    { parseAs: "buffer" },
    async (request: FastifyRequest, body: Buffer) => {
      if (body.length > LARGE) await large.turn(request);
      return parsed(request, body);
    },
  );
  app.addHook("onSend", (request, _reply, payload, done) => {
    large.done(request);
    done(null, payload);
  });
}

/** Bytes; one that does not say how many may send as many as its route takes. */
function announced({ headers, routeOptions }: FastifyRequest): number {
  const length = headers["content-length"];
  if (length !== undefined) return Number(length);
  return headers["transfer-encoding"] === undefined ? 0 : (routeOptions.bodyLimit ?? 0);
}

function keyOf({ credential }: FastifyRequest): string {
  if (credential === null) return "";
  return `${credential.principal.token ?? ""} ${credential.principal.name}`;
}
