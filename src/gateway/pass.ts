import { type RequestFrame, rpcCodes } from "../frame/types.js";
import { errorFrame } from "./reply.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";
import type { Reply, ServerLink } from "./servers/link.js";

/** Sends a request to one server as `text`, and its answer back as it is. */
export async function pass(link: ServerLink, request: ClientRequest, text: string): Promise<Reply> {
  await link.ready();
  const outgoing = { text, key: request.key, wire: null };
  request.server = link.key;
  const answered = link.forward(outgoing);
  request.wire = outgoing.wire;
  request.onAbort((cause) => {
    if (request.wire !== null)
      link.withdraw(request.wire, cause === "killed" ? "the agent was stopped" : cause);
  });
  const reply = await answered;
  if (request.aborted === null) request.answer(answerOf(link, request, reply));
  else if (request.aborted === "killed") {
    request.answer(
      errorFrame(request.key, rpcCodes.refused, "Refused: the agent was stopped while this request ran."),
    );
  }
  return reply;
}

/** What the client is told of a reply. */
export function answerOf(link: ServerLink, request: ClientRequest, reply: Reply): string {
  if (reply.kind === "answer") return reply.text;
  const message = `The server ${link.key} did not answer: ${reply.reason}.`;
  return errorFrame(request.key, rpcCodes.serverUnavailable, message);
}

/** What a restarted server has to be told again. */
export function remember(scope: Scope, frame: RequestFrame, reply: Reply): void {
  if (reply.kind !== "answer" || reply.frame.result === undefined) return;
  const { uri, level } = frame.params;
  if (frame.method === "logging/setLevel" && typeof level === "string") scope.settings.level = level;
  if (frame.method === "resources/subscribe" && typeof uri === "string")
    scope.settings.subscriptions.add(uri);
  if (frame.method === "resources/unsubscribe" && typeof uri === "string")
    scope.settings.subscriptions.delete(uri);
}
