import { reasonOf } from "../errors.js";
import { isObject } from "../frame/parse.js";
import { splice } from "../frame/text.js";
import { rpcCodes } from "../frame/types.js";
import type { Call } from "./call.js";
import { formsOf } from "./client-questions.js";
import { actionOf } from "./names.js";
import { callFrame, errorFrame } from "./reply.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";

let calls = 0;

/** Takes a `tools/call` from its frame to the pipeline, and what comes out back into a frame. */
export async function callTool(scope: Scope, request: ClientRequest): Promise<void> {
  const startedAt = performance.now();
  const { frame } = request;
  const { name } = frame.params;
  const args = Object.hasOwn(frame.params, "arguments") ? frame.params.arguments : undefined;
  if (typeof name !== "string" || frame.spans.name === undefined) {
    return refuse(scope, request, "", 'Invalid params: "name" must be a string');
  }
  if (args !== undefined && !isObject(args)) {
    return refuse(scope, request, name, 'Invalid params: "arguments" must be an object');
  }
  const found =
    scope.knownTool(name) ??
    (await scope.findTool(name).catch(async (thrown: unknown) => {
      // While its server is down nobody knows the tool, and nothing can be decided: recorded all the same.
      await note(scope, name, reasonOf(thrown));
      throw thrown;
    }));
  if (found === undefined) return refuse(scope, request, name, `Unknown tool: ${name}`);

  const { link, tool } = found;
  const span = frame.spans.arguments;
  const askForm = formsOf(scope, request.exchange);
  const call: Call = {
    request,
    link,
    outgoing: {
      text:
        scope.sole === null ? splice(frame.text, frame.spans.name, JSON.stringify(tool.name)) : frame.text,
      key: request.key,
      wire: null,
    },
    intent: {
      call: `${scope.services.gateway}-${(++calls).toString(36)}`,
      gateway: scope.services.gateway,
      agent: scope.agent,
      principal: scope.principal,
      server: link.key,
      tool: tool.name,
      action: actionOf(link.key, tool.name),
      definition: tool.definition,
      arguments: span === undefined ? "" : frame.text.slice(span.start, span.end),
      parsed: args ?? {},
      ...(scope.client === null ? {} : { client: scope.client }),
    },
    currentTool: async () => {
      await link.ready();
      const catalog = scope.catalogs.get(link.key);
      // Asked anew: a server may change a definition without a word, and what was approved is the old one.
      catalog?.invalidate();
      return catalog?.find(tool.name);
    },
    ...(askForm === null ? {} : { askForm }),
    startedAt,
    verdict: null,
    leaseUntil: null,
  };
  request.server = link.key;
  const answer = callFrame(call, await scope.pipeline(call));
  if (answer !== null) request.answer(answer);
}

/** A call that names no tool we know never becomes one: the client gets a JSON-RPC error, the ledger a record. */
async function refuse(scope: Scope, request: ClientRequest, name: string, message: string): Promise<void> {
  await note(scope, name, message);
  request.answer(errorFrame(request.key, rpcCodes.invalidParams, message));
}

async function note(scope: Scope, name: string, reason: string): Promise<void> {
  const { agent, principal } = scope;
  await scope.services.backend.note({
    kind: "refused",
    agent,
    principal,
    action: name.slice(0, 200),
    reason,
  });
}
