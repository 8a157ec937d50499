import { isObject } from "../frame/parse.js";
import { elementsIn, toolIn, withoutElements } from "./offered.js";
import { pass } from "./pass.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";
import type { ServerLink } from "./servers/link.js";

/**
 * The list of the one server of a scope, page by page as the server gives it, without the tools that policy hides until
 * somebody accepts them. It is pinned before the client's model reads a word of it.
 */
export async function listBare(scope: Scope, link: ServerLink, request: ClientRequest): Promise<void> {
  const catalog = scope.catalogs.get(link.key);
  await pass(scope, link, request, request.frame.text, async ({ text, frame }) => {
    const { cursor } = request.frame.params;
    const whole =
      cursor === undefined && isObject(frame.result) && typeof frame.result.nextCursor !== "string";
    await catalog?.seen(elementsIn(text, "tools"), whole);
    return withoutElements(text, "tools", (element) => isHidden(element));
  });

  /** What nobody could call is not shown either: it could only be read. */
  function isHidden(element: string): boolean {
    const tool = toolIn(element);
    return tool === undefined || catalog?.isHidden(tool.name) === true;
  }
}
