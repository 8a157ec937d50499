import type { OutcomeKind } from "../../client/backend.js";
import { AegisError, reasonOf } from "../../errors.js";
import { isObject } from "../../frame/parse.js";
import { type Call, type CallResult, failedClosed } from "../call.js";
import type { Step } from "../pipeline.js";
import type { Services } from "../services.js";

/**
 * Writes down how the call ended. A throw from below becomes a refusal here, once: the caller learns that the call did
 * not run, the log learns why.
 */
export function record({ backend, log }: Services): Step {
  return async (call, next) => {
    let result: CallResult;
    try {
      result = await next();
    } catch (thrown) {
      log.error(
        { call: call.intent.call, action: call.intent.action, reason: reasonOf(thrown) },
        "call refused",
      );
      result = failedClosed(
        thrown instanceof AegisError
          ? thrown.message
          : "The gateway could not handle the call; it was not run.",
      );
    }
    const outcome = outcomeOf(call, result);
    if (outcome !== null) {
      const { call: id, agent, principal, server, tool, action } = call.intent;
      const duration = Math.round((performance.now() - call.startedAt) * 1000) / 1000;
      const reason = reasonIn(call, result);
      const approval =
        (result.kind === "waiting" || result.kind === "withheld" ? result.approval : undefined) ??
        call.verdict?.approval?.id;
      backend.outcome({
        call: id,
        agent,
        principal,
        server,
        tool,
        action,
        outcome,
        duration,
        ...(reason === null ? {} : { reason }),
        ...(approval === undefined ? {} : { approval }),
      });
    }
    return result;
  };
}

/** Null where the record of the decision is already the last word on the call. */
function outcomeOf(call: Call, result: CallResult): OutcomeKind | null {
  switch (result.kind) {
    case "withheld":
    case "answered": {
      if (result.kind === "withheld" && result.refusal.inFlight) return "killed";
      if (result.frame.error !== undefined) return "error";
      return isObject(result.frame.result) && result.frame.result.isError === true ? "tool_error" : "ok";
    }
    case "refused":
      if (result.refusal.inFlight) return "killed";
      if (call.verdict?.decision === "ALLOW") return "not_forwarded";
      return call.verdict?.decision === "REVIEW" ? "refused" : null;
    case "waiting":
    case "not_forwarded":
    case "unknown":
    case "cancelled":
      return result.kind;
  }
}

function reasonIn(call: Call, result: CallResult): string | null {
  const { found } = call;
  const said = "refusal" in result ? result.refusal.reason : "reason" in result ? result.reason : null;
  if (found === undefined || said === null) return found ?? said;
  return `${found}. ${said}`;
}
