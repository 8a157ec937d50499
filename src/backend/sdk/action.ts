import { nameProblem, sdkServer } from "../../names.js";

const prefix = `${sdkServer}__`;
/** Key of a server in a configuration, then the tool. */
const canonical = /^([a-z0-9]+(?:[_-][a-z0-9]+)*)__(.+)$/s;

/** What an SDK calls an action, in the words of policies and records. */
export interface SdkCall {
  readonly server: string;
  readonly tool: string;
  readonly action: string;
}

/**
 * An action as an SDK sends it. One without `__` is a function of the agent: the tool of that name on the server `sdk`.
 * One with `__` names its server already and is taken as it is.
 */
export function sdkCall(sent: string): SdkCall {
  if (!sent.includes("__")) return { server: sdkServer, tool: sent, action: prefix + sent };
  const [, server, tool] = canonical.exec(sent) ?? [];
  // A Python name such as `__init__`, or one that begins with `sdk__` itself: the tool is what was sent.
  if (server === undefined || tool === undefined || server === sdkServer) {
    return { server: sdkServer, tool: sent, action: sent };
  }
  return { server, tool, action: sent };
}

/** The action as the SDK sent it, or as it would have. */
export function sentAction({
  server,
  tool,
  action,
}: {
  readonly server?: unknown;
  readonly tool?: unknown;
  readonly action?: unknown;
}): string {
  const sent = server === sdkServer && typeof tool === "string" ? tool : action;
  return typeof sent === "string" ? sent : "";
}

/** Every way to send the canonical action: always two, so that they fit one statement. */
export function spellings(action: string): readonly [string, string] {
  const bare = action.slice(prefix.length);
  return [action, action.startsWith(prefix) && bare !== "" && !bare.includes("__") ? bare : action];
}

/** Why a text can not be an action here, or null where it can. */
export function actionProblem(sent: string): string | null {
  return nameProblem(sent) ?? nameProblem(sdkCall(sent).action);
}
