import type { Intent } from "../../client/backend.js";
import { AegisError, reasonOf } from "../../errors.js";
import { scan } from "../../frame/scan.js";

/**
 * An intent whose arguments nobody has looked at yet: `parsed` does it, and throws as {@link readArguments}. It takes
 * some 250 ms where they are 12 MB, and so is done in a thread that keeps nobody else waiting (threat R6).
 */
export type UnreadIntent = Intent & { readonly unread?: true };

/** All of an intent but `parsed`. By name: that may be a getter, which parses the arguments. */
export function withoutParsed(intent: Intent): Omit<Intent, "parsed"> {
  const { call, gateway, agent, principal, server, tool, action, definition, client, stage } = intent;
  return {
    call,
    gateway,
    agent,
    principal,
    server,
    tool,
    action,
    definition,
    arguments: intent.arguments,
    ...(client === undefined ? {} : { client }),
    ...(stage === undefined ? {} : { stage }),
  };
}

/**
 * The arguments of a call, parsed; as a frame of a client may hold them: what two parsers could read differently would
 * be judged as another call.
 *
 * @throws AegisError `usage` where they are not the text of such an object
 */
export function readArguments(text: string): unknown {
  if (text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
    scan(`{"params":{"arguments":${text}}}`);
  } catch (thrown) {
    throw new AegisError("usage", `The arguments cannot be read: ${reasonOf(thrown).slice(0, 200)}`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new AegisError("usage", "The arguments are the text of a JSON object, or empty.");
}
