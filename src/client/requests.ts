import { isUtf8 } from "node:buffer";
import { type Dispatcher, Pool } from "undici";
import { AegisError } from "../errors.js";
import type { BackendAddress } from "./address.js";

/** Milliseconds from the question to the last byte of its answer, connecting and waiting for a connection included. */
export const DEADLINE = 2_000;
/** Milliseconds for what people ask: a kill waits for every lease, a list may be long. */
export const PATIENCE = 15_000;

/** Connections at one time; what is asked beyond that waits, within its deadline. */
const CONNECTIONS = 64;
/** Questions that wait or are under way; one more is refused at once: a slow backend must not fill this process (R8). */
const MOST = 4_096;
/** Bytes of an answer. A page of records with large arguments stays below. */
const LONGEST = 64 * 1024 * 1024;

export interface Question {
  readonly method: "GET" | "POST" | "DELETE";
  /** With its query, behind the address's prefix; every name in it is encoded already. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Milliseconds; `DEADLINE` if left out. */
  readonly deadline?: number;
  /** In place of the address's own credential. */
  readonly authorization?: string;
  /** Bytes the answer may have. */
  readonly longest?: number;
}

export interface Answer {
  readonly status: number;
  /** Media type without parameters, in lower case. */
  readonly type: string;
  readonly body: string;
  /** `performance.now()` right before the first byte of the question was written. */
  readonly sentAt: number;
}

/** The question has no answer. */
export class NoAnswer extends AegisError {
  constructor(
    message: string,
    /** It was sent, or begun to be: whether it arrived is not known. */
    readonly sent: boolean,
    /** The connection broke while an answer was awaited. */
    readonly broke: boolean,
    cause?: unknown,
  ) {
    super("backend_unavailable", message, {
      hint: "Is it running? `aegis doctor` says what it finds there.",
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

/** Questions to one backend, over connections that are kept. Asks once: no redirect is followed, nothing is repeated. */
export class Requests {
  private readonly pool: Pool;
  private readonly headers: Record<string, string>;
  private open = 0;

  constructor(readonly address: BackendAddress) {
    // Every question has its own deadline: the pool's would only blur it.
    this.pool = new Pool(address.origin, {
      connections: CONNECTIONS,
      pipelining: 1,
      // The second: whatever NODE_TLS_REJECT_UNAUTHORIZED says (threat T11).
      connect: { timeout: DEADLINE, rejectUnauthorized: true },
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    this.headers = ownHeaders(address);
  }

  /** @throws NoAnswer */
  async ask(question: Question): Promise<Answer> {
    const { shown } = this.address;
    if (this.open >= MOST)
      throw new NoAnswer(
        `The backend at ${shown} does not keep up: ${this.open} questions are open.`,
        false,
        false,
      );
    this.open++;
    try {
      return await this.dispatch(question);
    } finally {
      this.open--;
    }
  }

  async close(): Promise<void> {
    await this.pool.destroy();
  }

  private dispatch({
    method,
    path,
    body,
    deadline = DEADLINE,
    authorization,
    longest = LONGEST,
  }: Question): Promise<Answer> {
    const { prefix, shown } = this.address;
    return new Promise((resolve, reject) => {
      const handler = new AnswerHandler(longest, resolve, (error, started) => {
        clearTimeout(timer);
        reject(error instanceof NoAnswer ? error : unreachable(shown, error, started));
      });
      const timer = setTimeout(
        () => handler.give(`The backend at ${shown} did not answer within ${Math.round(deadline)} ms.`),
        Math.max(0, deadline),
      );
      handler.done = () => clearTimeout(timer);
      const headers = {
        ...this.headers,
        ...(authorization === undefined ? {} : { authorization }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      };
      const text = body === undefined ? null : JSON.stringify(body);
      this.pool.dispatch({ method, path: prefix + path, headers, body: text }, handler);
    });
  }
}

/** The headers of every question to an address. */
export function ownHeaders({ authorization }: BackendAddress): Record<string, string> {
  return {
    accept: "application/json",
    "user-agent": "aegis-sentinel",
    ...(authorization === null ? {} : { authorization }),
  };
}

/** Collects one answer, or the one reason why there is none. */
class AnswerHandler implements Dispatcher.DispatchHandler {
  done: () => void = () => {};
  private controller: Dispatcher.DispatchController | null = null;
  private over = false;
  private sentAt = 0;
  private status = 0;
  private type = "";
  private encoded = false;
  private readonly chunks: Buffer[] = [];
  private size = 0;

  constructor(
    private readonly longest: number,
    private readonly resolve: (answer: Answer) => void,
    private readonly refuse: (error: Error, started: boolean) => void,
  ) {}

  /** Ends it from outside; what has not begun never begins. */
  give(message: string): void {
    if (this.over) return;
    this.over = true;
    const error = new NoAnswer(message, this.controller !== null, false);
    this.refuse(error, this.controller !== null);
    this.controller?.abort(error);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.over) throw new Error("given up");
    this.controller = controller;
    this.sentAt = performance.now();
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    this.status = status;
    const [type = ""] = String(headers["content-type"] ?? "").split(";", 1);
    this.type = type.trim().toLowerCase();
    this.encoded = headers["content-encoding"] !== undefined;
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.size += chunk.length;
    if (this.size > this.longest) this.give(`The backend's answer is over ${this.longest} bytes.`);
    else this.chunks.push(chunk);
  }

  onResponseEnd(): void {
    if (this.over) return;
    this.over = true;
    this.done();
    const bytes = Buffer.concat(this.chunks, this.size);
    // What is encoded or no text is not JSON: the body is left out, and whoever wants JSON finds none.
    const body = this.encoded || !isUtf8(bytes) ? "" : bytes.toString("utf8");
    this.resolve({ status: this.status, type: this.type, body, sentAt: this.sentAt });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.over) return;
    this.over = true;
    this.refuse(error, this.controller !== null);
  }
}

function unreachable(shown: string, error: Error, started: boolean): NoAnswer {
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  if (!started) {
    return new NoAnswer(
      `The backend at ${shown} cannot be reached: ${reasons.get(code) ?? error.message}.`,
      false,
      false,
      error,
    );
  }
  const reason = error.message === "" ? code : error.message;
  return new NoAnswer(
    `The connection to the backend at ${shown} broke before its answer: ${reason}.`,
    true,
    true,
    error,
  );
}

const reasons: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "nothing listens there (ECONNREFUSED)"],
  ["ENOTFOUND", "its name is not known (ENOTFOUND)"],
  ["UND_ERR_CONNECT_TIMEOUT", "it does not answer"],
  ["CERT_HAS_EXPIRED", "its certificate has expired"],
  ["DEPTH_ZERO_SELF_SIGNED_CERT", "its certificate is signed by itself"],
]);
