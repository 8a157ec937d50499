import type { Intent } from "../client/backend.js";
import { AegisError, reasonOf } from "../errors.js";

/** An intent whose arguments nobody has parsed yet: `parsed` does it, and is best asked in the thread that decides. */
export type UnreadIntent = Intent & { readonly unread?: true };

/**
 * The arguments of a call, parsed.
 *
 * @throws AegisError `usage` where they are not JSON
 */
export function readArguments(text: string): unknown {
  if (text === "") return {};
  try {
    return JSON.parse(text);
  } catch (thrown) {
    const message = `The arguments cannot be read: ${reasonOf(thrown).slice(0, 200)}`;
    throw new AegisError("usage", message, {
      hint: "The arguments are the text of a JSON object, or empty.",
      cause: thrown,
    });
  }
}
