import { createHash } from "node:crypto";
import { reasonOf } from "../errors.js";
import { canonicalText } from "../frame/canonical.js";
import { elementsOf, membersOf, type Span, spanAt, splice } from "../frame/text.js";
import type { Json } from "../frame/types.js";
import type { Logger } from "../log.js";
import type { ServerLink } from "./servers/link.js";

/** A tool as its server defines it. */
export interface CatalogTool {
  readonly name: string;
  /** The definition as the server wrote it. */
  readonly text: string;
  /** SHA-256 (hex) over its lossless canonical form: what an approval binds. */
  readonly definition: string;
  readonly description: string | undefined;
  readonly hints: { readonly readOnly?: boolean; readonly destructive?: boolean };
}

/** Pages a list may have: a server that always names a next cursor must not keep us for ever. */
const MAX_PAGES = 1000;
/** Milliseconds between two looks for a tool that is not in the list. */
const LOOK_AGAIN = 1000;

/** The tools of one server, as one scope sees them; read when first needed, and again when they changed. */
export class Catalog {
  private tools: Promise<ReadonlyMap<string, CatalogTool>> | undefined;
  /** What `tools` resolved with. */
  private loaded: ReadonlyMap<string, CatalogTool> | undefined;
  private loadedAt = 0;

  constructor(
    private readonly link: ServerLink,
    private readonly log: Logger,
  ) {}

  /** The definitions may have changed: the next look reads them again. */
  invalidate(): void {
    this.tools = undefined;
    this.loaded = undefined;
  }

  /** The tool, where the list is known and holds it: most calls need not wait for anything. */
  known(name: string): CatalogTool | undefined {
    return this.loaded?.get(name);
  }

  /** @throws AegisError server_unavailable */
  async all(): Promise<ReadonlyMap<string, CatalogTool>> {
    if (this.tools === undefined) {
      this.loadedAt = performance.now();
      const loading = this.load();
      this.tools = loading;
      loading.then(
        (tools) => {
          if (this.tools === loading) this.loaded = tools;
        },
        () => {
          if (this.tools === loading) this.tools = undefined;
        },
      );
    }
    return this.tools;
  }

  /** A server may add a tool without a word: one that is missing is looked for again, at most once a second. */
  async find(name: string): Promise<CatalogTool | undefined> {
    const found = (await this.all()).get(name);
    if (found !== undefined || performance.now() - this.loadedAt < LOOK_AGAIN) return found;
    this.invalidate();
    return (await this.all()).get(name);
  }

  /** The client was shown this page of the server's list: where it differs from what is known, that is out of date. */
  async seen(tools: readonly string[]): Promise<void> {
    if (this.tools === undefined) return;
    const known = await this.tools;
    for (const text of tools) {
      const tool = read(text);
      if (tool !== undefined && known.get(tool.name)?.text !== text) this.invalidate();
    }
  }

  private async load(): Promise<ReadonlyMap<string, CatalogTool>> {
    const tools = new Map<string, CatalogTool>();
    // A script that does not wait for the answer of its handshake: what the server can is not known before that.
    await this.link.ready();
    if (!hasCapability(this.link, "tools")) return tools;
    for (const text of await listAll(this.link, "tools/list", "tools")) {
      try {
        const tool = read(text);
        // The first of two equal names counts: a later one could change what an accepted name means.
        if (tool !== undefined && !tools.has(tool.name)) tools.set(tool.name, tool);
        else this.log.warn({ server: this.link.key }, "a tool without a name of its own was left out");
      } catch (thrown) {
        this.log.warn({ server: this.link.key, reason: reasonOf(thrown) }, "a tool definition was left out");
      }
    }
    return tools;
  }
}

/** Every element of a paged list of the server, as JSON text. @throws AegisError server_unavailable */
export async function listAll(link: ServerLink, method: string, member: string): Promise<string[]> {
  const elements: string[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    await link.ready();
    const params: Json = cursor === undefined ? {} : { cursor };
    const { text, frame } = await link.request(method, params);
    elements.push(...elementsIn(text, member));
    const next = (frame.result as Json).nextCursor;
    if (typeof next !== "string") break;
    cursor = next;
  }
  return elements;
}

/** The elements of the list in an answer, as JSON text. */
export function elementsIn(text: string, member: string): string[] {
  const list = spanAt(text, "result", member);
  if (list === undefined || text[list.start] !== "[") return [];
  return [...elementsOf(text, list.start)].map((span) => text.slice(span.start, span.end));
}

export function hasCapability(link: ServerLink, name: string): boolean {
  const capabilities = link.initialized?.capabilities;
  return typeof capabilities === "object" && capabilities !== null && Object.hasOwn(capabilities, name);
}

/** The same element under another name, the rest of it untouched. */
export function renamed(text: string, name: string): string {
  const span = memberSpan(text, "name");
  return span === undefined ? text : splice(text, span, JSON.stringify(name));
}

function memberSpan(text: string, name: string): Span | undefined {
  for (const { key, value } of membersOf(text, 0)) if (key === name) return value;
  return undefined;
}

function read(text: string): CatalogTool | undefined {
  const tool: unknown = JSON.parse(text);
  if (typeof tool !== "object" || tool === null) return undefined;
  const { name, description, annotations } = tool as Json;
  if (typeof name !== "string" || name === "") return undefined;
  const claims = typeof annotations === "object" && annotations !== null ? (annotations as Json) : {};
  return {
    name,
    text,
    definition: createHash("sha256").update(canonicalText(text)).digest("hex"),
    description: typeof description === "string" ? description : undefined,
    hints: {
      ...(typeof claims.readOnlyHint === "boolean" ? { readOnly: claims.readOnlyHint } : {}),
      ...(typeof claims.destructiveHint === "boolean" ? { destructive: claims.destructiveHint } : {}),
    },
  };
}
