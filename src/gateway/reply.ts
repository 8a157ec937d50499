/** The only place that turns a decision or an error into a frame for the client. */
import { rpcCodes } from "../frame/types.js";
import type { Call, CallResult, Refusal } from "./call.js";

export const DECISION_META = "io.github.aegis-sentinel/decision";

/** A JSON-RPC error. `id` is JSON text. */
export function errorFrame(id: string, code: number, message: string, data?: unknown): string {
  const error = { code, message, ...(data === undefined ? {} : { data }) };
  return `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify(error)}}`;
}

/** A JSON-RPC result. `id` and `result` are JSON text. */
export function resultFrame(id: string, result: string): string {
  return `{"jsonrpc":"2.0","id":${id},"result":${result}}`;
}

/** The answer to a `tools/call`; null where the client has withdrawn it and none may be sent. */
export function callFrame(call: Call, result: CallResult): string | null {
  const id = call.request.key;
  switch (result.kind) {
    case "answered":
      return result.text;
    case "refused":
    case "waiting":
    case "withheld":
      return refusal(id, call, result.refusal);
    case "unknown":
      return errorFrame(
        id,
        rpcCodes.serverUnavailable,
        `The outcome of this call is unknown: ${result.reason}. It may have taken effect, and was not repeated. ` +
          "Check before you call again.",
        { call: call.intent.call, outcome: "unknown" },
      );
    case "not_forwarded":
      return errorFrame(id, rpcCodes.serverUnavailable, `The call was not run: ${result.reason}`, {
        call: call.intent.call,
        outcome: "not_forwarded",
      });
    case "cancelled":
      return null;
  }
}

function refusal(id: string, call: Call, said: Refusal): string {
  const decision = {
    decision: said.decision,
    rule: said.rule,
    reason: said.reason,
    call: call.intent.call,
    ...(said.approval === undefined ? {} : { approval: said.approval }),
  };
  const result = {
    content: [{ type: "text", text: sentence(call, said) }],
    isError: true,
    _meta: { [DECISION_META]: decision },
  };
  return resultFrame(id, JSON.stringify(result));
}

/** What the model reads: what happened to which call, and what would help. */
function sentence(call: Call, said: Refusal): string {
  switch (said.decision) {
    case "REVIEW":
      return `Not run yet: ${said.reason}`;
    case "KILLED":
      return `Refused: ${said.reason} A person can let ${call.intent.agent} go on with \`aegis revive ${call.intent.agent}\`.`;
    case "BLOCK":
      if (said.ran)
        return `Withheld: ${call.intent.action} was run, but its result is not passed on. ${said.reason}`;
      return `Refused: ${call.intent.action} was not run. ${said.reason}`;
  }
}
