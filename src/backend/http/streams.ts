import type { FastifyRequest } from "fastify";
import type { Logger } from "../../log.js";
import { HttpError } from "./errors.js";

/** Why a stream is ended from here. */
export type StreamEnd = "credential" | "stopping";

interface Held {
  readonly end: (why: StreamEnd) => void;
  readonly token: number | null;
  /** Whether what proved the principal still does. */
  readonly stands: () => Promise<boolean>;
}

/** Milliseconds between two looks at the credentials of open streams: an expiry is not announced by anybody. */
const interval = 5_000;

/** Responses that stay open. They end with their credential (threat T16) and with the server. */
export class Streams {
  private readonly held = new Set<Held>();
  private readonly timer: NodeJS.Timeout;
  private over = false;

  constructor(private readonly log: Logger) {
    this.timer = setInterval(() => {
      this.endUnproved().catch((thrown: unknown) => this.log.error(thrown));
    }, interval);
    this.timer.unref();
  }

  /** How many are open. */
  get open(): number {
    return this.held.size;
  }

  /**
   * Keeps the answer to this request in mind.
   *
   * @param end is to end it; called at most once
   * @returns to be called when it is over
   * @throws HttpError 503 where the server stops already
   */
  hold(request: FastifyRequest, end: (why: StreamEnd) => void): () => void {
    if (this.over) throw new HttpError(503, "The server is about to stop.");
    const { credential } = request;
    if (credential === null) throw new Error("a stream needs somebody it is for");
    const held: Held = { end, token: credential.principal.token, stands: credential.stands };
    this.held.add(held);
    return () => {
      this.held.delete(held);
    };
  }

  /** The token was revoked. */
  endToken(token: number): void {
    this.endWhere((held) => held.token === token, "credential");
  }

  /** The server stops. */
  endAll(): void {
    this.over = true;
    clearInterval(this.timer);
    this.endWhere(() => true, "stopping");
  }

  /** Ends those whose credential is proved no more. A store that does not answer ends none: nothing was found out. */
  async endUnproved(): Promise<void> {
    for (const held of this.held) {
      const stands = await held.stands().catch(() => true);
      if (!stands) this.endWhere((other) => other === held, "credential");
    }
  }

  private endWhere(chosen: (held: Held) => boolean, why: StreamEnd): void {
    for (const held of [...this.held].filter(chosen)) {
      this.held.delete(held);
      held.end(why);
    }
  }
}
