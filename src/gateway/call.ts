import type { Intent, Verdict } from "../client/backend.js";
import type { ResponseFrame } from "../frame/types.js";
import type { AskForm } from "./client-questions.js";
import type { CatalogTool } from "./offered.js";
import type { ClientRequest } from "./request.js";
import type { Outgoing, ServerLink } from "./servers/link.js";

/** One `tools/call` on its way through the pipeline. */
export interface Call {
  readonly request: ClientRequest;
  readonly link: ServerLink;
  /** What would be forwarded: the client's bytes, with the server's own tool name, and the arguments that were decided. */
  outgoing: Outgoing;
  readonly intent: Intent;
  /** The tool as the server defines it at this moment; undefined where it is gone. */
  readonly currentTool: () => Promise<CatalogTool | undefined>;
  /** Asks the client by a form, on the stream of this call; left out where it has none. */
  readonly askForm?: AskForm;
  /** `performance.now()` when the frame arrived. */
  readonly startedAt: number;
  verdict: Verdict | null;
  /** `performance.now()` after which no first byte may be written. Null, as at first, forbids. */
  leaseUntil: number | null;
  /** What was found in its answer, for the record. */
  found?: string;
}

/** How the call ended, before it is put into a frame. */
export type CallResult =
  /** The server's answer, as it is. */
  | { readonly kind: "answered"; readonly text: string; readonly frame: ResponseFrame }
  /** The server's answer came and is not passed on. */
  | {
      readonly kind: "withheld";
      readonly refusal: Refusal;
      readonly frame: ResponseFrame;
      readonly approval?: number;
    }
  /** Policy, a person, or the kill switch said no. */
  | { readonly kind: "refused"; readonly refusal: Refusal }
  /** Nobody has decided yet: repeat the call. */
  | { readonly kind: "waiting"; readonly refusal: Refusal; readonly approval: number }
  /** Allowed, but not a byte was sent. */
  | { readonly kind: "not_forwarded"; readonly reason: string }
  /** Sent, and no answer came. */
  | { readonly kind: "unknown"; readonly reason: string }
  /** The client withdrew it and expects no answer. */
  | { readonly kind: "cancelled" };

export interface Refusal {
  readonly decision: "BLOCK" | "REVIEW" | "KILLED";
  readonly rule: string | null;
  readonly reason: string;
  readonly approval?: number;
  /** The agent was killed while the call ran at the server. */
  readonly inFlight?: boolean;
  /** The call has run: what is refused is its result. */
  readonly ran?: boolean;
}

/** A refusal in the words of a verdict. */
export function refusedBy(verdict: Verdict): CallResult {
  return {
    kind: "refused",
    refusal: {
      decision: verdict.decision === "ALLOW" ? "BLOCK" : verdict.decision,
      rule: verdict.rule,
      reason: verdict.reason,
      ...(verdict.approval === undefined ? {} : { approval: verdict.approval.id }),
    },
  };
}

/** A refusal of the gateway's own: something on the way failed, and so the call must not run. */
export function failedClosed(reason: string): CallResult {
  return { kind: "refused", refusal: { decision: "BLOCK", rule: null, reason } };
}
