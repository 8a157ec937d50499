import type { RequestFrame } from "../frame/types.js";

/** The way back to the client for one of its requests. */
export interface Exchange {
  /** The final answer. Called at most once. */
  answer(text: string): void;
  /** A message that belongs to this request: progress, a log line, a question of the server. */
  send(text: string): void;
  /** No answer will come: the client has withdrawn the request. */
  close(): void;
}

export type AbortCause = "cancelled" | "killed" | "closed";

/** A request of the client that has no answer yet. */
export class ClientRequest {
  /** The key of the server it went to, and the id it carries there. */
  server: string | null = null;
  wire: string | null = null;
  /** Set where the client asked for progress: the token as JSON text. */
  readonly progressToken: string | null;
  /** The progress the gateway itself reported last; the server's must stay larger. */
  progressed: number | null = null;
  aborted: AbortCause | null = null;
  private listener: ((cause: AbortCause) => void) | null = null;
  private answered = false;

  constructor(
    readonly frame: RequestFrame,
    readonly exchange: Exchange,
  ) {
    const meta = frame.params._meta;
    const token =
      typeof meta === "object" && meta !== null && "progressToken" in meta ? meta.progressToken : undefined;
    this.progressToken =
      typeof token === "string" || typeof token === "number" ? JSON.stringify(token) : null;
  }

  get key(): string {
    return this.frame.key;
  }

  /** Whoever works on the request now wants to hear of its end. One listener: the work is in one place at a time. */
  onAbort(listener: ((cause: AbortCause) => void) | null): void {
    this.listener = listener;
    if (listener !== null && this.aborted !== null) listener(this.aborted);
  }

  abort(cause: AbortCause): void {
    if (this.aborted !== null) return;
    this.aborted = cause;
    this.listener?.(cause);
  }

  /** Answers once; what comes later is dropped, as is everything for a request the client has withdrawn. */
  answer(text: string): void {
    if (this.answered) return;
    this.answered = true;
    this.exchange.answer(text);
  }
}
