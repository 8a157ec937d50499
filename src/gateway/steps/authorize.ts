import type { Intent, Verdict } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { isObject, parseClientFrame } from "../../frame/parse.js";
import { spanAt, splice } from "../../frame/text.js";
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
  checkVerdict(call.intent, verdict);
  const before = call.verdict;
  call.verdict = verdict;
  call.leaseUntil = null;
  if (verdict.decision !== "ALLOW") return;
  const { leaseUntil, inspect = [] } = verdict;
  if (typeof leaseUntil !== "number" || !Number.isFinite(leaseUntil)) throw foreign(call.intent);
  if (!Array.isArray(inspect)) throw foreign(call.intent);
  // What was evaluated is what is forwarded (threat P20): also where an earlier verdict said other arguments.
  if (verdict.arguments !== undefined) exchangeArguments(call, verdict.arguments);
  else if (before?.arguments !== undefined) exchangeArguments(call, call.intent.arguments);
  call.leaseUntil = leaseUntil;
}

/** @throws AegisError where it is not a decision about this intent */
export function checkVerdict(intent: Intent, verdict: Verdict): void {
  if (!decisions.has(verdict.decision) || verdict.call !== intent.call) throw foreign(intent);
}

/** @throws AegisError where that would not be the same call with other arguments */
function exchangeArguments(call: Call, text: string): void {
  const { outgoing, intent } = call;
  const span = spanAt(outgoing.text, "params", "arguments");
  if (span === undefined || typeof text !== "string" || !isJsonObject(text)) throw foreign(intent);
  const changed = splice(outgoing.text, span, text);
  // As strict as with the client's own frame: no two members of the same name, whoever wrote them (threat P2).
  parseClientFrame(changed);
  call.outgoing = { ...outgoing, text: changed };
}

function isJsonObject(text: string): boolean {
  try {
    return isObject(JSON.parse(text));
  } catch {
    return false;
  }
}

function foreign(intent: Intent): AegisError {
  return new AegisError(
    "backend_unavailable",
    `The backend's answer was not a decision about this call (${intent.action}); the call was not run.`,
  );
}
