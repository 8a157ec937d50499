import { reasonOf } from "../errors.js";
import { isObject } from "../frame/parse.js";
import { spanAt, splice } from "../frame/text.js";
import { rpcCodes } from "../frame/types.js";
import { hasCapability, listAll } from "./catalog.js";
import { exposedName } from "./names.js";
import { renamed } from "./offered.js";
import { pass, remember } from "./pass.js";
import { errorFrame, resultFrame } from "./reply.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";
import type { ServerLink } from "./servers/link.js";
import { templateMatcher } from "./uri-template.js";

/** One kind of list: how it is asked for, and which capability a server needs for it. */
const lists: ReadonlyMap<string, { member: string; capability: string }> = new Map([
  ["resources/list", { member: "resources", capability: "resources" }],
  ["resources/templates/list", { member: "resourceTemplates", capability: "resources" }],
  ["prompts/list", { member: "prompts", capability: "prompts" }],
]);

/** The merged endpoint's answers to everything but `tools/call`: lists of all servers, and who owns what is in them. */
export class MergedLists {
  /** Which server a resource URI, a template or a prompt came from. URIs are never rewritten: the table routes them. */
  private resources: Map<string, ServerLink> | undefined;
  private templates: { text: string; matches: (uri: string) => boolean; link: ServerLink }[] = [];
  private prompts: Map<string, { link: ServerLink; name: string }> | undefined;

  constructor(private readonly scope: Scope) {}

  /** Something changed at a server: the tables are read again when they are next needed. */
  invalidate(): void {
    this.resources = undefined;
    this.prompts = undefined;
  }

  ownerOf(uri: string): ServerLink | undefined {
    const templated = this.templates.find((template) => template.text === uri || template.matches(uri));
    return this.resources?.get(uri) ?? templated?.link;
  }

  async answer(request: ClientRequest): Promise<void> {
    const { method, params, key } = request.frame;
    switch (method) {
      case "ping":
        request.answer(resultFrame(key, "{}"));
        return;
      case "tools/list":
        request.answer(resultFrame(key, `{"tools":[${(await this.tools()).join(",")}]}`));
        return;
      case "resources/list":
      case "resources/templates/list":
      case "prompts/list": {
        const elements = await this.read(method);
        request.answer(resultFrame(key, `{"${lists.get(method)?.member}":[${elements.join(",")}]}`));
        return;
      }
      case "resources/read":
      case "resources/subscribe":
      case "resources/unsubscribe":
        return this.toOwner(request, params.uri);
      case "prompts/get":
        return this.prompt(request, params.name);
      case "completion/complete":
        return this.complete(request);
      case "logging/setLevel":
        return this.setLevel(request);
      default:
        request.answer(errorFrame(key, rpcCodes.methodNotFound, `Method not found: ${method}`));
    }
  }

  private async tools(): Promise<string[]> {
    const parts = await Promise.all(
      [...this.scope.links.values()].map((link) =>
        this.from(link, async () => {
          await link.ready();
          const catalog = this.scope.catalogs.get(link.key);
          const tools = [...((await catalog?.all()) ?? new Map()).values()];
          return tools
            .filter(({ name }) => catalog?.isHidden(name) !== true)
            .flatMap((tool) => renamed(tool.text, exposedName(link.key, tool.name)) ?? []);
        }),
      ),
    );
    return parts.flat();
  }

  /** Every server's part of a list, in the order of the configuration; and the table of who owns what. */
  private async read(method: string): Promise<string[]> {
    const list = lists.get(method);
    if (list === undefined) return [];
    const parts = await Promise.all(
      [...this.scope.links.values()].map(async (link) => {
        const elements = await this.from(link, async () => {
          await link.ready();
          return hasCapability(link, list.capability) ? listAll(link, method, list.member) : [];
        });
        return { link, elements };
      }),
    );
    if (method === "prompts/list") return this.tabulatePrompts(parts);
    if (method === "resources/list") this.resources = new Map();
    else this.templates = [];
    for (const { link, elements } of parts) {
      for (const element of elements) this.own(method, link, JSON.parse(element));
    }
    return parts.flatMap((part) => part.elements);
  }

  private tabulatePrompts(parts: readonly { link: ServerLink; elements: readonly string[] }[]): string[] {
    const table = new Map<string, { link: ServerLink; name: string }>();
    const shown = parts.flatMap(({ link, elements }) =>
      elements.flatMap((element) => {
        const prompt: unknown = JSON.parse(element);
        if (!isObject(prompt) || typeof prompt.name !== "string") return [];
        const exposed = exposedName(link.key, prompt.name);
        const own = renamed(element, exposed);
        if (own === null) {
          this.scope.services.log.warn({ server: link.key }, "a prompt with two names was left out");
          return [];
        }
        table.set(exposed, { link, name: prompt.name });
        return [own];
      }),
    );
    this.prompts = table;
    return shown;
  }

  private own(method: string, link: ServerLink, element: unknown): void {
    if (!isObject(element)) return;
    const { uri, uriTemplate } = element;
    if (method === "resources/templates/list" && typeof uriTemplate === "string") {
      this.templates.push({ text: uriTemplate, matches: templateMatcher(uriTemplate), link });
    }
    if (method !== "resources/list" || typeof uri !== "string") return;
    const owner = this.resources?.get(uri);
    if (owner === undefined) this.resources?.set(uri, link);
    // The first server in the configuration keeps it: a later one must not be able to take a URI over.
    else if (owner !== link) {
      this.scope.services.log.warn(
        { uri, servers: [owner.key, link.key] },
        "two servers offer the same resource URI",
      );
    }
  }

  private async toOwner(request: ClientRequest, uri: unknown): Promise<void> {
    const owner = typeof uri === "string" ? await this.owner(uri) : undefined;
    if (owner === undefined) {
      const message = `Resource not found: ${String(uri)}`;
      request.answer(errorFrame(request.key, rpcCodes.resourceNotFound, message, { uri }));
      return;
    }
    remember(this.scope, request.frame, await pass(this.scope, owner, request, request.frame.text));
  }

  private async owner(uri: string): Promise<ServerLink | undefined> {
    if (this.resources === undefined || this.ownerOf(uri) === undefined) {
      await Promise.all([this.read("resources/list"), this.read("resources/templates/list")]);
    }
    const owner = this.ownerOf(uri);
    if (owner !== undefined) return owner;
    // A server may serve what it does not list: with one candidate there is no doubt whose it would be.
    const candidates = [...this.scope.links.values()].filter((link) => hasCapability(link, "resources"));
    return candidates.length === 1 ? candidates[0] : undefined;
  }

  private async prompt(request: ClientRequest, name: unknown): Promise<void> {
    const found = typeof name === "string" ? await this.findPrompt(name) : undefined;
    const span = request.frame.spans.name;
    if (found === undefined || span === undefined) {
      request.answer(errorFrame(request.key, rpcCodes.invalidParams, `Unknown prompt: ${String(name)}`));
      return;
    }
    await pass(this.scope, found.link, request, splice(request.frame.text, span, JSON.stringify(found.name)));
  }

  private async findPrompt(name: string): Promise<{ link: ServerLink; name: string } | undefined> {
    if (!this.prompts?.has(name)) await this.read("prompts/list");
    return this.prompts?.get(name);
  }

  private async complete(request: ClientRequest): Promise<void> {
    const { ref } = request.frame.params;
    const { text } = request.frame;
    if (isObject(ref) && ref.type === "ref/prompt" && typeof ref.name === "string") {
      const found = await this.findPrompt(ref.name);
      const span = spanAt(text, "params", "ref", "name");
      if (found !== undefined && span !== undefined) {
        await pass(this.scope, found.link, request, splice(text, span, JSON.stringify(found.name)));
        return;
      }
    }
    if (isObject(ref) && ref.type === "ref/resource") return this.toOwner(request, ref.uri);
    request.answer(errorFrame(request.key, rpcCodes.invalidParams, "Unknown reference to complete"));
  }

  /** One level for the connection: every server that logs is told. */
  private async setLevel(request: ClientRequest): Promise<void> {
    const { level } = request.frame.params;
    const able = [...this.scope.links.values()].filter((link) => link.isUp && hasCapability(link, "logging"));
    await Promise.all(
      able.map((link) =>
        this.from(link, async () => {
          await link.request("logging/setLevel", { level });
          return [];
        }),
      ),
    );
    if (typeof level === "string") this.scope.settings.level = level;
    request.answer(resultFrame(request.key, "{}"));
  }

  /** One server's part; where it does not answer in its time, or refuses, that is missing and the log says so. */
  private async from(link: ServerLink, read: () => Promise<string[]>): Promise<string[]> {
    // The others' lists do not wait for it each time; once it is there, a list-changed brings it in.
    if (link.isFailing) return [];
    try {
      return await read();
    } catch (thrown) {
      this.scope.services.log.warn({ server: link.key, reason: reasonOf(thrown) }, "left out of a list");
      return [];
    }
  }
}
