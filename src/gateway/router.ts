import { AegisError, reasonOf } from "../errors.js";
import { isObject } from "../frame/parse.js";
import { spanAt, splice } from "../frame/text.js";
import {
  type ClientFrame,
  type NotificationFrame,
  type RequestFrame,
  type ResponseFrame,
  rpcCodes,
} from "../frame/types.js";
import { listBare } from "./bare-list.js";
import { initializeMerged } from "./merged-initialize.js";
import { clientNotifications, clientRequests, harmless, taskRequests } from "./methods.js";
import { refusedAnswer, secondReading } from "./one-reading.js";
import { answerOf, pass, remember } from "./pass.js";
import { errorFrame } from "./reply.js";
import { ClientRequest, type Exchange } from "./request.js";
import { reachedByRoots } from "./roots.js";
import type { Scope } from "./scope.js";
import { callTool } from "./tool-call.js";

/** Characters. */
const LONGEST_CLAIM = 200;

/** Where a frame of the client goes. `tools/call` takes the pipeline; everything else is here. */
export function routeFromClient(scope: Scope, frame: ClientFrame, exchange: Exchange | null): void {
  if (frame.kind === "response") {
    if (!scope.questions.take(frame)) scope.background(answerServer(scope, frame));
  } else if (frame.kind === "notification") {
    scope.background(notification(scope, frame));
  } else if (exchange !== null) {
    accept(scope, frame, exchange);
  }
}

function accept(scope: Scope, frame: RequestFrame, exchange: Exchange): void {
  const refuse = (code: number, message: string): void => {
    exchange.answer(errorFrame(frame.key, code, message));
    scope.background(note(scope, frame.method, message));
  };
  if (scope.requests.has(frame.key)) {
    refuse(rpcCodes.invalidRequest, `Refused: a request with the id ${frame.key} is already open.`);
    return;
  }
  if (!passes(scope, frame.method)) {
    refuse(rpcCodes.methodNotFound, `Method not found: ${frame.method}`);
    return;
  }
  if (scope.services.killSwitch.isKilled(scope.agent) && !harmless.has(frame.method)) {
    refuse(
      rpcCodes.refused,
      `Refused: the agent ${scope.agent} is stopped. A person can let it go on with \`aegis revive\`.`,
    );
    return;
  }
  const request = new ClientRequest(frame, exchange);
  scope.begin(request);
  scope.background(
    handle(scope, request)
      .catch((thrown: unknown) => request.answer(failure(frame.key, thrown)))
      .finally(() => {
        scope.finish(request);
        if (request.aborted === "cancelled" || request.aborted === "closed") exchange.close();
      }),
  );
}

async function handle(scope: Scope, request: ClientRequest): Promise<void> {
  const { frame } = request;
  const { sole } = scope;
  if (frame.method === "tools/call") return callTool(scope, request);
  if (frame.method === "initialize") return initialize(scope, request);
  if (sole !== null && frame.method === "tools/list") return listBare(scope, sole, request);
  if (sole !== null) {
    remember(scope, frame, await pass(scope, sole, request, frame.text));
    return;
  }
  await scope.lists.answer(request);
}

async function initialize(scope: Scope, request: ClientRequest): Promise<void> {
  const { capabilities, clientInfo } = request.frame.params;
  scope.capabilities = isObject(capabilities) ? capabilities : {};
  scope.client = claimed(clientInfo);
  if (scope.sole === null) {
    await initializeMerged(scope, request);
    return;
  }
  const reply = await scope.sole.initializeVerbatim(request.frame);
  // Instructions are pinned as they are read here.
  const second =
    reply.kind === "answer" ? secondReading(reply.text, "instructions", "capabilities", "serverInfo") : null;
  if (second !== null) {
    const message = refusedAnswer(scope.sole.key, "initialize", second);
    scope.services.log.warn({ server: scope.sole.key }, message);
    request.answer(errorFrame(request.key, rpcCodes.serverUnavailable, message));
    return;
  }
  if (reply.kind === "answer" && isObject(reply.frame.result)) {
    const { protocolVersion } = reply.frame.result;
    scope.protocolVersion = typeof protocolVersion === "string" ? protocolVersion : null;
  }
  request.answer(answerOf(scope.sole, request, reply));
}

/** What a client says of itself: a condition of a policy may ask for it, and nobody relies on it (threat P25). */
function claimed(info: unknown): Scope["client"] {
  if (!isObject(info) || typeof info.name !== "string") return null;
  const version = typeof info.version === "string" ? info.version : "";
  return { name: info.name.slice(0, LONGEST_CLAIM), version: version.slice(0, LONGEST_CLAIM) };
}

function passes(scope: Scope, method: string): boolean {
  if (clientRequests.has(method) || scope.services.config.methods.includes(method)) return true;
  const capabilities = scope.sole?.initialized?.capabilities;
  return taskRequests.has(method) && isObject(capabilities) && Object.hasOwn(capabilities, "tasks");
}

async function notification(scope: Scope, frame: NotificationFrame): Promise<void> {
  const { method, params, text } = frame;
  const { sole, services } = scope;
  // Of a stopped agent nothing reaches a server but that it takes something back.
  if (services.killSwitch.isKilled(scope.agent) && !/initialized$|cancelled$/.test(method)) return;
  switch (method) {
    case "notifications/initialized":
      if (sole !== null) await sole.clientInitialized(text);
      await scope.readTools();
      return;
    case "notifications/cancelled": {
      const { requestId } = params;
      const request = scope.requests.get(JSON.stringify(requestId) ?? "");
      if (request !== undefined && request.frame.method !== "initialize") request.abort("cancelled");
      return;
    }
    case "notifications/progress": {
      const shown = JSON.stringify(params.progressToken);
      const asked = [...scope.serverRequests.values()].find((open) => open.token?.shown === shown);
      if (asked?.token == null || asked.generation !== asked.link.generation) return;
      const span =
        asked.token.shown === asked.token.original ? undefined : spanAt(text, "params", "progressToken");
      await asked.link.notify(span === undefined ? text : splice(text, span, asked.token.original));
      return;
    }
    default:
      if (clientNotifications.has(method) || services.config.methods.includes(method)) {
        await Promise.all(
          [...scope.links.values()].filter((link) => link.isUp).map((link) => link.notify(text)),
        );
      } else await note(scope, method, `The notification ${method} belongs to no known feature; dropped.`);
  }
}

/** An answer of the client to a request of a server: back to the connection that asked, and to no other. */
async function answerServer(scope: Scope, frame: ResponseFrame): Promise<void> {
  const asked = frame.key === null ? undefined : scope.serverRequests.get(frame.key);
  if (frame.key === null || asked === undefined || asked.generation !== asked.link.generation) {
    scope.services.log.warn({ id: frame.key }, "the client answered what no server asked; dropped");
    return;
  }
  scope.serverRequests.delete(frame.key);
  if (scope.services.killSwitch.isKilled(scope.agent)) {
    await asked.link.notify(
      errorFrame(asked.key, rpcCodes.refused, "Refused by the gateway: the agent is stopped"),
    );
    return;
  }
  const reached =
    asked.method === "roots/list" ? reachedByRoots(frame.result, scope.services.protectedPaths) : undefined;
  if (reached !== undefined) {
    const reason = `The client's root ${reached.root} reaches ${reached.path}, which governs the agent; not given to ${asked.link.key}.`;
    await scope.services.backend.note({
      kind: "refused",
      agent: scope.agent,
      server: asked.link.key,
      reason,
    });
    scope.services.log.warn(reason);
    await asked.link.notify(
      errorFrame(asked.key, rpcCodes.refused, "Refused by the gateway: a root reaches its own files."),
    );
    return;
  }
  const id = asked.key === frame.key ? undefined : spanAt(frame.text, "id");
  await asked.link.notify(id === undefined ? frame.text : splice(frame.text, id, asked.key));
}

async function note(scope: Scope, method: string, reason: string): Promise<void> {
  const { agent, principal } = scope;
  await scope.services.backend.note({ kind: "refused", agent, principal, action: method, reason });
}

function failure(id: string, thrown: unknown): string {
  if (thrown instanceof AegisError) return errorFrame(id, rpcCodes.serverUnavailable, thrown.message);
  return errorFrame(
    id,
    rpcCodes.internalError,
    `The gateway could not handle the request: ${reasonOf(thrown)}`,
  );
}
