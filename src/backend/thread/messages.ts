import type { BackendEvent, Intent, Outcome } from "../../client/backend.js";
import { AegisError, type ErrorCode, reasonOf } from "../../errors.js";
import type { BackendOptions } from "../open-backend.js";
import type { Service } from "../service.js";

/** What the backend in the thread is opened with. */
export type ThreadOptions = Omit<BackendOptions, "log">;

/**
 * An intent without its parsed arguments: parsing a short text again is cheaper than copying the tree. Of a long one the
 * thread needs no more than the redacted form, which is short and made where the arguments were parsed.
 */
export type SentIntent = Omit<Intent, "parsed"> & { readonly redacted?: string };

/** Methods that are asked as they are: their arguments and results are plain data. */
export type PlainMethod = Exclude<
  keyof Service,
  "description" | "decide" | "release" | "outcome" | "subscribe"
>;

export type Order =
  | { readonly kind: "open"; readonly options: ThreadOptions }
  | { readonly kind: "decide"; readonly id: number; readonly intent: SentIntent }
  | {
      readonly kind: "release";
      readonly id: number;
      readonly intent: SentIntent;
      readonly approval: number | null;
    }
  | { readonly kind: "outcome"; readonly outcome: Outcome }
  | {
      readonly kind: "call";
      readonly id: number;
      readonly method: PlainMethod;
      readonly args: readonly unknown[];
    }
  /** Large arguments are to be read, and redacted: no backend is opened for that. */
  | { readonly kind: "read"; readonly id: number; readonly text: string }
  /** Every listener in the gateway has taken the event in; not `well` where one of them failed. */
  | { readonly kind: "heard"; readonly event: number; readonly well: boolean };

export type Report =
  | { readonly kind: "ready"; readonly description: string; readonly clock: number }
  | { readonly kind: "failed"; readonly error: SentError }
  | { readonly kind: "done"; readonly id: number; readonly result: unknown }
  | { readonly kind: "refused"; readonly id: number; readonly error: SentError }
  | { readonly kind: "event"; readonly number: number; readonly event: BackendEvent };

export interface SentError {
  readonly code: ErrorCode | null;
  readonly message: string;
  readonly hint: string | undefined;
}

export function sendError(thrown: unknown): SentError {
  if (thrown instanceof AegisError) return { code: thrown.code, message: thrown.message, hint: thrown.hint };
  return { code: null, message: reasonOf(thrown), hint: undefined };
}

export function receiveError({ code, message, hint }: SentError): Error {
  if (code === null) return new Error(message);
  return new AegisError(code, message, hint === undefined ? {} : { hint });
}

/**
 * Milliseconds from the monotonic clock that all threads share to this thread's `performance.now()`: a lease given in
 * one thread is used in another.
 */
export function clockOffset(): number {
  return performance.now() - Number(process.hrtime.bigint()) / 1e6;
}
