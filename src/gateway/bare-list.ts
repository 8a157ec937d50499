import { isObject } from "../frame/parse.js";
import { rpcCodes } from "../frame/types.js";
import { elementsIn, toolIn, withoutElements } from "./offered.js";
import { refusedAnswer, secondList } from "./one-reading.js";
import { pass } from "./pass.js";
import { errorFrame } from "./reply.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";
import type { ServerLink } from "./servers/link.js";

/**
 * The list of the one server of a scope, page by page as the server gives it: of it what is pinned, exactly as it was
 * pinned, without the tools that policy hides until somebody accepts them. It is pinned before the client's model reads
 * a word of it.
 */
export async function listBare(scope: Scope, link: ServerLink, request: ClientRequest): Promise<void> {
  const catalog = scope.catalogs.get(link.key);
  await pass(scope, link, request, request.frame.text, async ({ text, frame }) => {
    const second = secondList(text, "tools");
    if (second !== null) {
      const message = refusedAnswer(link.key, request.frame.method, second);
      scope.services.log.warn({ server: link.key }, message);
      return errorFrame(request.key, rpcCodes.serverUnavailable, message);
    }
    const { cursor } = request.frame.params;
    const whole =
      cursor === undefined && isObject(frame.result) && typeof frame.result.nextCursor !== "string";
    const offered = await catalog?.seen(elementsIn(text, "tools"), whole);
    return withoutElements(text, "tools", (element) => {
      const tool = toolIn(element);
      // What nobody could call, or nobody has pinned, is not shown either: it could only be read.
      if (tool === undefined || offered?.get(tool.name)?.definition !== tool.definition) return true;
      return catalog?.isHidden(tool.name) === true;
    });
  });
}
