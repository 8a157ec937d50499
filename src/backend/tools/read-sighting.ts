import { hash } from "node:crypto";
import type { Sighting } from "../../client/backend.js";
import { isToolName, longestDefinition, mostTools } from "../../client/wire/tools.js";
import { AegisError } from "../../errors.js";
import { canonicalText, uniqueCanonicalText } from "../../frame/canonical.js";
import { visible } from "../../visible.js";
import { checkName } from "../names.js";
import { instructions } from "./effect.js";
import type { Seen } from "./pin.js";

/** A sighting whose every claim was checked. */
export interface Looked {
  readonly agent: string;
  readonly server: string;
  /** By tool, the instructions among them. */
  readonly seen: ReadonlyMap<string, Seen>;
  /** By hash: they are what they are said to be. */
  readonly texts: ReadonlyMap<string, string>;
}

/**
 * A gateway says which definition has which hash; who believed that could be shown one and have called another. What is
 * not so is refused, and so is what no server offers.
 *
 * @throws AegisError `usage`
 */
export function readSighting({ agent, server, tools, instructions: said }: Sighting): Looked {
  checkName("agent", agent);
  checkName("server", server);
  if (tools.length > mostTools) throw refused(`a server has at most ${mostTools} tools here`);
  const texts = new Map<string, string>();
  const seen = new Map<string, Seen>();
  for (const { name, definition, text } of tools) {
    if (!isToolName(name)) throw refused(`${visible(name).slice(0, 64)} can not be the name of a tool`);
    if (!/^[0-9a-f]{64}$/.test(definition)) throw refused("a definition is named by its SHA-256 in hex");
    if (text !== undefined) texts.set(definition, checked(name, definition, text));
    const before = seen.get(name);
    if (before === undefined) seen.set(name, { tool: name, definition, ambiguous: false });
    else if (before.definition !== definition) seen.set(name, { ...before, ambiguous: true });
  }
  const text = JSON.stringify(said);
  if (text.length > longestDefinition) throw refused("the instructions are too long");
  const definition = hash("sha256", canonicalText(text));
  texts.set(definition, text);
  seen.set(instructions, { tool: instructions, definition, ambiguous: false });
  return { agent, server, seen, texts };
}

function checked(name: string, definition: string, text: string): string {
  const shown = visible(name).slice(0, 64);
  if (text.length > longestDefinition) throw refused(`the definition of ${shown} is too long`);
  const tool = parsed(text);
  if (typeof tool !== "object" || tool === null || (tool as { name?: unknown }).name !== name)
    throw refused(`the definition of ${shown} is that of another tool`);
  if (hashOf(text) !== definition)
    throw refused(`the definition of ${shown} is not the one that its hash names`);
  return text;
}

/** Null where it has no canonical form: it nests too deep, or a key stands twice, and each parser takes another. */
function hashOf(text: string): string | null {
  try {
    return hash("sha256", uniqueCanonicalText(text));
  } catch (thrown) {
    if (thrown instanceof RangeError) return null;
    throw thrown;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

function refused(why: string): AegisError {
  return new AegisError("usage", `The sighting was refused: ${why}.`);
}
