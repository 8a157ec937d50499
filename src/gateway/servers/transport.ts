/** One connection to one MCP server, as frames. Implementations: `stdio.ts`, `http.ts`. */
import { AegisError } from "../../errors.js";

/**
 * Asked synchronously, right before the first byte of a guarded frame would be written. Throwing keeps it from being
 * sent: invariant 4 counts from this moment, not from when the frame was queued.
 */
export type Guard = () => void;

export interface SendOptions {
  /** The key of the request this frame is; its answer, or `failed`, comes back under it. */
  readonly key?: string;
  readonly guard?: Guard;
}

export interface TransportEvents {
  /** A frame arrived. `about` is the key of the request on whose stream it came, where the transport knows. */
  frame(text: string, about: string | null): void;
  /** The request under `key` will get no answer here, although the connection lives. */
  failed(key: string, reason: string): void;
  /** The connection is over: every request without an answer is lost. */
  closed(reason: string, exitCode: number | null): void;
}

export interface Transport {
  /** Resolves when frames can be sent. @throws AegisError server_unavailable */
  open(): Promise<void>;
  /**
   * Resolves once the frame was handed to the connection. Rejects with what the guard threw, or with `NotSent` where
   * not a byte of it was written.
   */
  send(text: string, options?: SendOptions): Promise<void>;
  /** The answer to `key` has come: nothing more is expected for it. */
  answered(key: string): void;
  /** The answer to `key` is no longer wanted. */
  abandon(key: string): void;
  /** The handshake was answered: later requests name the revision. */
  negotiated(protocolVersion: string): void;
  /** `notifications/initialized` was sent: what belongs to no request may be listened for. */
  listen(): void;
  /** Ends the connection and everything started for it; at most 1.5 s. The exit code of a process that ended itself. */
  close(): Promise<number | null>;
}

/** Nothing reached the server: the call may safely be said not to have run. */
export class NotSent extends AegisError {
  constructor(reason: string) {
    super("server_unavailable", reason);
    this.name = "NotSent";
  }
}
