import { createHash } from "node:crypto";
import { isToolName, longestDefinition, mostTools } from "../client/wire/tools.js";
import { uniqueCanonicalText } from "../frame/canonical.js";
import { folded } from "../frame/scan.js";
import { elementsOf, membersOf, type Span, spanAt, splice } from "../frame/text.js";
import type { Json } from "../frame/types.js";
import { hasLookAlikes } from "./one-reading.js";

/** Bytes of names that one sighting has room for, beside definitions: no list may be too large to be pinned. */
const mostNames = 2 * 1024 * 1024;

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

/** What a server's list says. */
export interface Offered {
  /** By name. The first of two equal names counts: a later one could change what an accepted name means. */
  readonly tools: ReadonlyMap<string, CatalogTool>;
  /** Those, and other definitions under the same names. */
  readonly offers: readonly CatalogTool[];
  /** Elements that are no tool anybody could call. */
  readonly unusable: number;
}

/** Reads the elements of a list; of a tool that is defined twice, both definitions. */
export function readOffers(elements: readonly string[]): Offered {
  const tools = new Map<string, CatalogTool>();
  const offers: CatalogTool[] = [];
  const hasRoom = room();
  let unusable = 0;
  for (const text of elements) {
    const tool = offers.length < mostTools ? toolIn(text) : undefined;
    if (tool === undefined) {
      unusable++;
      continue;
    }
    const first = tools.get(tool.name);
    if (first?.definition === tool.definition) continue;
    if (!hasRoom(tool)) {
      unusable++;
      continue;
    }
    if (first === undefined) tools.set(tool.name, tool);
    offers.push(tool);
  }
  return { tools, offers, unusable };
}

/** Says of one tool after the other whether a sighting has room for it, too. */
export function room(): (tool: CatalogTool) => boolean {
  let count = 0;
  let names = 0;
  return ({ name }) => {
    const length = Buffer.byteLength(JSON.stringify(name));
    if (count >= mostTools || names + length > mostNames) return false;
    count++;
    names += length;
    return true;
  };
}

/** Undefined where it is no tool: without a name, or with one, or a definition, that nobody could speak of for certain. */
export function toolIn(text: string): CatalogTool | undefined {
  if (text.length > longestDefinition) return undefined;
  const tool: unknown = JSON.parse(text);
  if (typeof tool !== "object" || tool === null || hasLookAlikes(tool)) return undefined;
  const { name, description, annotations } = tool as Json;
  if (typeof name !== "string" || !isToolName(name)) return undefined;
  const claims = typeof annotations === "object" && annotations !== null ? (annotations as Json) : {};
  const definition = hashOf(text);
  if (definition === null) return undefined;
  return {
    name,
    text,
    definition,
    description: typeof description === "string" ? description : undefined,
    hints: {
      ...(typeof claims.readOnlyHint === "boolean" ? { readOnly: claims.readOnlyHint } : {}),
      ...(typeof claims.destructiveHint === "boolean" ? { destructive: claims.destructiveHint } : {}),
    },
  };
}

/** Null where it has no canonical form: it nests too deep, or a key stands twice, and each parser takes another. */
function hashOf(text: string): string | null {
  try {
    return createHash("sha256").update(uniqueCanonicalText(text)).digest("hex");
  } catch (thrown) {
    if (thrown instanceof RangeError) return null;
    throw thrown;
  }
}

/** The elements of the list in an answer, as JSON text. */
export function elementsIn(text: string, member: string): string[] {
  return spansIn(text, member).map((span) => text.slice(span.start, span.end));
}

function spansIn(text: string, member: string): Span[] {
  const list = spanAt(text, "result", member);
  return list === undefined || text[list.start] !== "[" ? [] : [...elementsOf(text, list.start)];
}

/** The answer without some elements of its list; every other byte of it stays (invariant 7). */
export function withoutElements(text: string, member: string, drop: (element: string) => boolean): string {
  const spans = spansIn(text, member);
  const [first] = spans;
  const last = spans.at(-1);
  if (first === undefined || last === undefined) return text;
  let left = "";
  let end = first.start;
  let dropped = false;
  for (const span of spans) {
    const element = text.slice(span.start, span.end);
    if (drop(element)) dropped = true;
    // With what stood before it, unless nothing does any more.
    else left += (left === "" ? "" : text.slice(end, span.start)) + element;
    end = span.end;
  }
  return dropped ? text.slice(0, first.start) + left + text.slice(last.end) : text;
}

/**
 * The same element under another name, the rest of it untouched. Null where more of its members could be taken for the
 * name: the client would read the other one, which may be that of another server's tool.
 */
export function renamed(text: string, name: string): string | null {
  const names = [...membersOf(text, 0)].filter(({ key }) => folded(key) === "name");
  const [only] = names;
  if (only?.key !== "name" || names.length > 1) return null;
  return splice(text, only.value, JSON.stringify(name));
}
