import { type RequestFrame, rpcCodes } from "../frame/types.js";
import { harmless } from "./methods.js";
import { errorFrame } from "./reply.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";
import type { ServerLink } from "./servers/link.js";
import type { Reply } from "./servers/open-requests.js";
import { NotSent } from "./servers/transport.js";

/**
 * Sends a request to one server as `text`, and its answer back as it is. Null where the request ended before that.
 *
 * @param edit what the client is given in place of a result
 */
export async function pass(
  scope: Scope,
  link: ServerLink,
  request: ClientRequest,
  text: string,
  edit?: (reply: Extract<Reply, { kind: "answer" }>) => Promise<string>,
): Promise<Reply | null> {
  const { agent, services } = scope;
  await link.ready();
  const outgoing = { text, key: request.key, wire: null };
  request.server = link.key;
  const answered = link.forward(outgoing, () => {
    // Getting here may have taken a while: what was asked at the start is asked again right before the first byte.
    if (services.killSwitch.isKilled(agent) && !harmless.has(request.frame.method))
      request.aborted ??= "killed";
    if (request.aborted !== null) throw new NotSent("the request was withdrawn");
  });
  request.wire = outgoing.wire;
  request.onAbort((cause) => {
    if (request.wire !== null)
      link.withdraw(request.wire, cause === "killed" ? "the agent was stopped" : cause);
  });
  const reply = await answered.catch((thrown: unknown) => {
    if (thrown instanceof NotSent && request.aborted !== null) return null;
    throw thrown;
  });
  const edited =
    edit !== undefined && reply?.kind === "answer" && reply.frame.result !== undefined
      ? await edit(reply)
      : null;
  if (request.aborted === "killed") request.answer(errorFrame(request.key, rpcCodes.refused, stopped));
  else if (request.aborted === null && reply !== null)
    request.answer(edited ?? answerOf(link, request, reply));
  return reply;
}

const stopped = "Refused: the agent was stopped before this request had its answer.";

/** What the client is told of a reply. */
export function answerOf(link: ServerLink, request: ClientRequest, reply: Reply): string {
  if (reply.kind === "answer") return reply.text;
  const message = `The server ${link.key} did not answer: ${reply.reason}.`;
  return errorFrame(request.key, rpcCodes.serverUnavailable, message);
}

/** What a restarted server has to be told again. */
export function remember(scope: Scope, frame: RequestFrame, reply: Reply | null): void {
  if (reply?.kind !== "answer" || reply.frame.result === undefined) return;
  const { uri, level } = frame.params;
  if (frame.method === "logging/setLevel" && typeof level === "string") scope.settings.level = level;
  if (frame.method === "resources/subscribe" && typeof uri === "string")
    scope.settings.subscriptions.add(uri);
  if (frame.method === "resources/unsubscribe" && typeof uri === "string")
    scope.settings.subscriptions.delete(uri);
}
