import { hash } from "node:crypto";
import type { Backend, Sighted } from "../client/backend.js";
import { fitting } from "../client/wire/fields.js";
import { longestDefinition, sightingText } from "../client/wire/tools.js";
import type { CatalogTool } from "./offered.js";

/** What the scope of a catalog knows of the sighting: for whom, and what the server says of itself. */
export interface Sighter {
  readonly backend: Pick<Backend, "sight">;
  readonly agent: string;
  readonly server: string;
  readonly instructions: unknown;
}

/**
 * Tells the backend what a server offers. One question where nothing is new; definitions that are asked for follow in
 * parts. What the backend goes on asking for it does not take: then its answer so far is what counts.
 */
export async function sightOffers(
  { backend, agent, server, instructions }: Sighter,
  offers: readonly CatalogTool[],
): Promise<Sighted> {
  const said = typeof instructions === "string" ? pinnable(instructions) : null;
  const ask = (texts: ReadonlySet<string>): Promise<Sighted> =>
    backend.sight({
      agent,
      server,
      instructions: said,
      tools: offers.map(({ name, definition, text }) =>
        texts.has(definition) ? { name, definition, text } : { name, definition },
      ),
    });
  let sighted = await ask(new Set());
  let left = Number.POSITIVE_INFINITY;
  while (sighted.missing.length > 0 && sighted.missing.length < left) {
    left = sighted.missing.length;
    sighted = await ask(some(new Set(sighted.missing), offers));
  }
  return sighted;
}

/** Instructions as they can be kept; where that is not all of them, what is kept still differs with every part of them. */
function pinnable(instructions: string): string {
  const kept = fitting(instructions, longestDefinition / 8);
  if (kept === instructions) return kept;
  // JSON escapes halves of pairs, which UTF-8 would write all in the same way.
  const whole = hash("sha256", JSON.stringify(instructions));
  return `${kept}\n[${instructions.length} characters in all, SHA-256 of their JSON text ${whole}]`;
}

/** As many of the missing definitions as go into one question; one in any case. */
function some(missing: ReadonlySet<string>, offers: readonly CatalogTool[]): Set<string> {
  const texts = new Set<string>();
  let length = 0;
  for (const { definition, text } of offers) {
    if (!missing.has(definition) || texts.has(definition)) continue;
    length += text.length;
    if (texts.size > 0 && length > sightingText) break;
    texts.add(definition);
  }
  return texts;
}
