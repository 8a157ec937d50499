import { reasonOf } from "../errors.js";
import { keyOf } from "../frame/parse.js";
import { oneLine, spanAt, splice } from "../frame/text.js";
import { type Json, type ResponseFrame, rpcCodes, type ServerFrame } from "../frame/types.js";
import { hasCapability } from "./catalog.js";
import { serverRequests } from "./methods.js";
import { errorFrame } from "./reply.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";
import type { ServerLink } from "./servers/link.js";

/** Of all servers of a client together. */
const OPEN_SERVER_REQUESTS = 1000;

type FromServer = Exclude<ServerFrame, ResponseFrame>;

/** Where a notification or request of a server goes: to the one client of this scope, on the stream it belongs to. */
export function relayFromServer(
  scope: Scope,
  link: ServerLink,
  frame: FromServer,
  about: string | null,
): void {
  if (frame.kind === "request") {
    ask(scope, link, frame, about);
    return;
  }
  switch (frame.method) {
    case "notifications/progress":
      progress(scope, link, frame.text, frame.params);
      return;
    case "notifications/cancelled":
      cancelled(scope, link, frame.text, frame.params);
      return;
    case "notifications/tools/list_changed":
      scope.catalogs.get(link.key)?.invalidate();
      break;
    case "notifications/resources/list_changed":
    case "notifications/prompts/list_changed":
      scope.lists.invalidate();
      break;
  }
  send(scope, link, frame.text, about);
}

/** A new connection took the place of a dead one: what the client had set is set again, and it is told to look anew. */
export function relayReconnect(scope: Scope, link: ServerLink): void {
  const again: [string, Json][] = [];
  if (scope.settings.level !== null && hasCapability(link, "logging")) {
    again.push(["logging/setLevel", { level: scope.settings.level }]);
  }
  for (const uri of scope.settings.subscriptions) {
    if (scope.sole !== null || scope.lists.ownerOf(uri) === link)
      again.push(["resources/subscribe", { uri }]);
  }
  for (const [method, params] of again) {
    scope.background(
      link.request(method, params).then(
        () => {},
        (thrown: unknown) => scope.services.log.warn({ server: link.key, method }, reasonOf(thrown)),
      ),
    );
  }
  for (const list of ["tools", "resources", "prompts"]) {
    if (hasCapability(link, list)) {
      scope.port.send(`{"jsonrpc":"2.0","method":"notifications/${list}/list_changed"}`, null);
    }
  }
}

function ask(
  scope: Scope,
  link: ServerLink,
  frame: Extract<FromServer, { kind: "request" }>,
  about: string | null,
): void {
  const refuse = (code: number, message: string): void => {
    scope.services.log.warn({ server: link.key, method: frame.method }, message);
    scope.background(link.notify(errorFrame(frame.key, code, message)));
  };
  if (scope.services.killSwitch.isKilled(scope.agent)) {
    refuse(rpcCodes.refused, "Refused by the gateway: the agent is stopped");
    return;
  }
  if (scope.serverRequests.size >= OPEN_SERVER_REQUESTS) {
    refuse(rpcCodes.refused, "Refused by the gateway: too many requests to the client are open");
    return;
  }
  const needs = serverRequests.get(frame.method);
  if (needs === undefined && !scope.services.config.methods.includes(frame.method)) {
    refuse(rpcCodes.methodNotFound, `Method not found: ${frame.method}`);
    return;
  }
  if (needs && !Object.hasOwn(scope.capabilities, needs)) {
    refuse(rpcCodes.methodNotFound, `The client does not support ${frame.method}`);
    return;
  }
  // On its first connection the only server of a scope may use its own ids. Where two could use the same one, or a
  // restarted server could take an answer that was meant for the one before, the client sees an id of ours.
  const own =
    scope.sole !== null &&
    link.generation === 1 &&
    !scope.serverRequests.has(frame.key) &&
    !scope.questions.has(frame.key);
  const key = own ? frame.key : `"${link.key}:${link.generation}:${scope.nextNumber()}"`;
  let { text } = frame;
  const tokenSpan = spanAt(text, "params", "_meta", "progressToken");
  const original = tokenSpan && text.slice(tokenSpan.start, tokenSpan.end);
  const token = original === undefined ? null : { shown: own ? original : key, original };
  if (!own) {
    if (tokenSpan !== undefined) text = splice(text, tokenSpan, key);
    const id = spanAt(text, "id");
    if (id !== undefined) text = splice(text, id, key);
  }
  scope.serverRequests.set(key, {
    link,
    generation: link.generation,
    key: frame.key,
    method: frame.method,
    token,
  });
  send(scope, link, text, about);
}

/** A server takes back what it asked the client. */
function cancelled(scope: Scope, link: ServerLink, text: string, params: Json): void {
  const wanted = keyOf(params.requestId);
  for (const [key, open] of scope.serverRequests) {
    if (open.link !== link || open.generation !== link.generation || open.key !== wanted) continue;
    scope.serverRequests.delete(key);
    const id = key === open.key ? undefined : spanAt(text, "params", "requestId");
    send(scope, link, id === undefined ? text : splice(text, id, key), null);
    return;
  }
}

/** Progress goes to the request whose token it names, if that request is at this server, and only upwards. */
function progress(scope: Scope, link: ServerLink, text: string, params: Json): void {
  const request = scope.byToken.get(keyOf(params.progressToken) ?? "");
  if (request === undefined || request.server !== link.key || request.aborted !== null) return;
  if (request.wire !== null) link.touch(request.wire);
  if (request.progressed !== null) {
    if (typeof params.progress !== "number" || params.progress <= request.progressed) return;
    request.progressed = params.progress;
  }
  request.exchange.send(oneLine(text));
}

function send(scope: Scope, link: ServerLink, text: string, about: string | null): void {
  const line = oneLine(text);
  const request = about === null ? undefined : requestAt(scope, link, about);
  if (request !== undefined) request.exchange.send(line);
  else scope.port.send(line, anyRequestAt(scope, link)?.exchange ?? null);
}

function requestAt(scope: Scope, link: ServerLink, wire: string): ClientRequest | undefined {
  const usual = scope.requests.get(wire);
  if (usual?.server === link.key && usual.wire === wire) return usual;
  return [...scope.requests.values()].find((request) => request.server === link.key && request.wire === wire);
}

/** A server on stdio does not say which call its question belongs to; one that is open there has a stream. */
function anyRequestAt(scope: Scope, link: ServerLink): ClientRequest | undefined {
  for (const request of scope.requests.values()) {
    if (request.server === link.key && request.wire !== null && request.aborted === null) return request;
  }
  return undefined;
}
