import { canonicalText } from "../../frame/canonical.js";
import { compilePattern } from "../../policy/pattern.js";

const QUOTE = 34;
const BACKSLASH = 92;

/** Arguments cut in two: the members that may differ, and everything else. */
export interface Parted {
  readonly named: ReadonlyMap<string, string>;
  /** Canonical JSON text; numbers as they were written, which a parser would round. */
  readonly rest: string;
}

/**
 * Null where one of the named members is not there, is no string, or where a member comes twice: then nobody can say
 * which of them the server takes.
 *
 * @param text JSON that `JSON.parse` has accepted, or empty where there are no arguments
 * @throws where it has no canonical form
 */
export function partArguments(text: string, names: readonly string[]): Parted | null {
  const canonical = text === "" ? "" : canonicalText(text);
  if (!canonical.startsWith("{")) return names.length === 0 ? { named: new Map(), rest: canonical } : null;
  const named = new Map<string, string>();
  const kept: string[] = [];
  const seen = new Set<string>();
  for (let at = 1; canonical.charCodeAt(at) === QUOTE; ) {
    const colon = endOfString(canonical, at);
    const end = endOfValue(canonical, colon + 1);
    const key = String(JSON.parse(canonical.slice(at, colon)));
    if (seen.has(key)) return null;
    seen.add(key);
    if (!names.includes(key)) kept.push(canonical.slice(at, end));
    else if (canonical.charCodeAt(colon + 1) !== QUOTE) return null;
    else named.set(key, String(JSON.parse(canonical.slice(colon + 1, end))));
    // Behind each member but the last stands a comma.
    at = end + 1;
  }
  return named.size === new Set(names).size ? { named, rest: `{${kept.join(",")}}` } : null;
}

/**
 * The same, where every pattern is matched by the argument of its name: code unit for code unit, no form of Unicode is
 * another.
 */
export function coveredPart(text: string, patterns: Readonly<Record<string, string>>): Parted | null {
  const parted = partArguments(text, Object.keys(patterns));
  if (parted === null) return null;
  for (const [name, pattern] of Object.entries(patterns)) {
    const value = parted.named.get(name);
    if (value === undefined || !compilePattern(pattern)(value)) return null;
  }
  return parted;
}

/** Behind the closing quote of the string that begins here. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  for (; text.charCodeAt(at) !== QUOTE; at++) if (text.charCodeAt(at) === BACKSLASH) at++;
  return at + 1;
}

/** Behind the value of a member that begins here, in text without white space. */
function endOfValue(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    switch (text[at]) {
      case '"':
        at = endOfString(text, at) - 1;
        break;
      case "{":
      case "[":
        depth++;
        break;
      case "}":
      case "]":
        if (depth === 0) return at;
        depth--;
        break;
      case ",":
        if (depth === 0) return at;
        break;
    }
  }
  return text.length;
}
