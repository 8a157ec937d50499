import type { Intent, Verdict } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { type Call, refusedBy } from "../call.js";
import type { Step } from "../pipeline.js";
import type { Services } from "../services.js";

const decisions: ReadonlySet<unknown> = new Set(["ALLOW", "BLOCK", "REVIEW", "KILLED"]);

/** Asks the backend, which decides and records. Only an ALLOW gives the lease without which nothing is forwarded. */
export function authorize({ backend }: Services): Step {
  return async (call, next) => {
    const verdict = await backend.decide(call.intent);
    accept(call, verdict);
    return verdict.decision === "ALLOW" || verdict.decision === "REVIEW" ? next() : refusedBy(verdict);
  };
}

/**
 * Takes a verdict over into the call, if it is one: exactly one of our words, about exactly this call (threats P11,
 * T12). Anything else throws, and so refuses.
 */
export function accept(call: Call, verdict: Verdict): void {
  if (!decisions.has(verdict.decision) || verdict.call !== call.intent.call) throw foreign(call.intent);
  call.verdict = verdict;
  call.leaseUntil = null;
  if (verdict.decision !== "ALLOW") return;
  if (typeof verdict.leaseUntil !== "number" || !Number.isFinite(verdict.leaseUntil))
    throw foreign(call.intent);
  call.leaseUntil = verdict.leaseUntil;
}

function foreign(intent: Intent): AegisError {
  return new AegisError(
    "backend_unavailable",
    `The backend's answer was not a decision about this call (${intent.action}); the call was not run.`,
  );
}
