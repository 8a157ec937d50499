import { reasonOf } from "../../errors.js";
import { spanAt, splice } from "../../frame/text.js";
import type { ResponseFrame } from "../../frame/types.js";
import { type Guard, NotSent, type Transport } from "./transport.js";

/** How a request to a server ended. */
export type Reply =
  | { readonly kind: "answer"; readonly text: string; readonly frame: ResponseFrame }
  /** Bytes were sent, and no answer will come: the outcome is unknown. */
  | { readonly kind: "lost"; readonly reason: string }
  /** Withdrawn by us: cancelled, killed, or out of time. */
  | { readonly kind: "withdrawn"; readonly reason: string };

export interface RequestOptions {
  /** Milliseconds. */
  readonly timeout: number;
  readonly guard?: Guard | undefined;
  /** The id to put back into the answer, where the wire carries another one. */
  readonly restore?: string;
  /** Told when the time is over; what happens to the request is the caller's. */
  readonly expired: (key: string, reason: string) => void;
}

interface Open {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
  readonly restore: string | null;
  /** The first byte was written. */
  sent: boolean;
  timer: NodeJS.Timeout | undefined;
}

/** Withdrawn requests of one connection that are remembered; a server that obeys the cancellation never answers. */
const REMEMBERED = 1024;

/** The requests that have no answer yet, on one connection to a server, by the id they carry there. */
export class OpenRequests {
  private open = new Map<string, Open>();
  private withdrawn: string[] = [];

  /** Also true of one that was withdrawn: its late answer must not be taken for that of another. */
  has(key: string): boolean {
    return this.open.has(key);
  }

  /** @throws NotSent, or what the guard threw: not a byte was sent */
  send(transport: Transport, text: string, key: string, options: RequestOptions): Promise<Reply> {
    const { timeout, guard, restore = null, expired } = options;
    return new Promise<Reply>((resolve, reject) => {
      const open: Open = { resolve, reject, restore, sent: false, timer: undefined };
      this.open.set(key, open);
      // Counts from here: a server that does not read keeps the frame from being sent at all.
      open.timer = setTimeout(() => {
        if (this.open.get(key) === open) expired(key, `no answer within ${timeout / 1000} s`);
      }, timeout);
      const ask = (): void => {
        if (this.open.get(key) !== open) throw new NotSent("it was withdrawn before it was sent");
        guard?.();
        open.sent = true;
      };
      transport.send(text, { key, guard: ask }).catch((thrown: unknown) => {
        if (this.open.get(key) !== open) return;
        this.take(key);
        reject(thrown instanceof Error ? thrown : new Error(reasonOf(thrown)));
      });
    });
  }

  /** False where nobody asked for this answer. */
  answer(key: string, text: string, frame: ResponseFrame): boolean {
    const open = this.take(key);
    if (open === undefined) return false;
    const id = open.restore === null ? undefined : spanAt(text, "id");
    const restored = id === undefined || open.restore === null ? text : splice(text, id, open.restore);
    open.resolve({ kind: "answer", text: restored, frame });
    return true;
  }

  /** No answer will come. */
  lose(key: string, reason: string): void {
    const open = this.take(key);
    if (open !== undefined) end(open, { kind: "lost", reason });
  }

  loseAll(reason: string): void {
    for (const key of this.open.keys()) this.lose(key, reason);
    this.withdrawn = [];
  }

  /** The answer is not wanted any more. True where the request is at the server, which has to be told. */
  withdraw(key: string, reason: string): boolean {
    const open = this.take(key);
    if (open === undefined) return false;
    end(open, { kind: "withdrawn", reason });
    if (!open.sent) return false;
    // The entry stays for a while, so that the late answer meets nobody and the id is not used again meanwhile.
    this.open.set(key, { resolve: () => {}, reject: () => {}, restore: null, sent: true, timer: undefined });
    this.withdrawn.push(key);
    const oldest = this.withdrawn.length > REMEMBERED ? this.withdrawn.shift() : undefined;
    if (oldest !== undefined && this.open.get(oldest)?.timer === undefined) this.open.delete(oldest);
    return true;
  }

  /** A sign of life of this request: its time begins anew. */
  touch(key: string): void {
    this.open.get(key)?.timer?.refresh();
  }

  private take(key: string): Open | undefined {
    const open = this.open.get(key);
    this.open.delete(key);
    clearTimeout(open?.timer);
    return open;
  }
}

/** What was never sent has no unknown outcome: it did not run. */
function end(open: Open, reply: Exclude<Reply, { kind: "answer" }>): void {
  if (open.sent) open.resolve(reply);
  else open.reject(new NotSent(`it was not sent: ${reply.reason}`));
}
