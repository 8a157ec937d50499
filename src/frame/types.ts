import type { Span } from "./text.js";

/** JSON-RPC 2.0 error codes the gateway itself answers with; its own lie outside -32768…-32000. */
export const rpcCodes = {
  parseError: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internalError: -32603,
  resourceNotFound: -32002,
  /** A server is down, or went away with the answer. */
  serverUnavailable: -31001,
  /** The agent was killed, or policy forbids the method. */
  refused: -31002,
} as const;

/** What a malformed frame is answered with. A wire error: it never carries anything local. */
export class FrameError extends Error {
  constructor(
    readonly code: number,
    message: string,
    /** The id as JSON text where it could be read, else `null`. */
    readonly id: string = "null",
  ) {
    super(message);
    this.name = "FrameError";
  }
}

export type Json = Record<string, unknown>;

/** A request of the client. Spans point into `text`. */
export interface RequestFrame {
  readonly kind: "request";
  readonly text: string;
  /** The id as JSON text, in the form a server that parses and prints it gives back: the key of the exchange. */
  readonly key: string;
  readonly method: string;
  readonly params: Json;
  readonly spans: Spans;
}

export interface NotificationFrame {
  readonly kind: "notification";
  readonly text: string;
  readonly method: string;
  readonly params: Json;
  readonly spans: Spans;
}

/** An answer, from either side. */
export interface ResponseFrame {
  readonly kind: "response";
  readonly text: string;
  /** Null where the id is null: an error about a frame that could not be read. */
  readonly key: string | null;
  /** Undefined in an error. */
  readonly result: unknown;
  readonly error: unknown;
}

/** Where the members lie that the gateway may have to change or to bind. */
export interface Spans {
  readonly id: Span | undefined;
  /** `params.name` of a tool or prompt. */
  readonly name: Span | undefined;
  /** `params.arguments`. */
  readonly arguments: Span | undefined;
}

export type ClientFrame = RequestFrame | NotificationFrame | ResponseFrame;

/** A frame from a server: read only as far as routing needs, passed on as `text`. */
export type ServerFrame =
  | {
      readonly kind: "request";
      readonly text: string;
      readonly key: string;
      readonly method: string;
      readonly params: Json;
    }
  | { readonly kind: "notification"; readonly text: string; readonly method: string; readonly params: Json }
  | ResponseFrame;
