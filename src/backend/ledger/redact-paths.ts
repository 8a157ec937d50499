import { escapeSeparators } from "./redact.js";

/** What stands in the place of a secret; as in `redact.ts`. */
const REDACTED = "[redacted]";

/** The members of an object, or items of a list, that a path goes on to; a leaf is redacted whole. */
interface Branch {
  readonly members: Map<string, Branch>;
  any: Branch | null;
  leaf: boolean;
}

/** Replaces what is secret in the JSON text of arguments, whose patterns have been redacted already. */
export type PathRedaction = (json: string) => string;

/**
 * Compiles configured paths: names of members joined by dots, `*` for any member or any item of a list; `arguments.` at
 * the beginning may be left out. A path means the member also where it is written in another case: a secret that a client
 * spells otherwise is one too.
 */
export function compilePaths(paths: readonly string[]): PathRedaction {
  if (paths.length === 0) return (json) => json;
  const root = branch();
  for (const path of paths) {
    const steps = path.split(".");
    if (steps[0] === "arguments") steps.shift();
    let at = root;
    for (const step of steps) at = grow(at, step.toLowerCase());
    at.leaf = true;
  }
  return (json) => {
    if (root.leaf) return JSON.stringify(REDACTED);
    return escapeSeparators(JSON.stringify(redact(JSON.parse(json), [root])));
  };
}

function branch(): Branch {
  return { members: new Map(), any: null, leaf: false };
}

function grow(from: Branch, step: string): Branch {
  if (step === "*") {
    from.any ??= branch();
    return from.any;
  }
  let next = from.members.get(step);
  if (next === undefined) {
    next = branch();
    from.members.set(step, next);
  }
  return next;
}

/** @param at every branch that has led here: `*` and a name may both */
function redact(value: unknown, at: readonly Branch[]): unknown {
  if (value === null || typeof value !== "object") return value;
  const below = (name: string): unknown => {
    const child = (value as Record<string, unknown>)[name];
    const next = at.flatMap(({ members, any }) => [members.get(name.toLowerCase()) ?? [], any ?? []].flat());
    if (next.length === 0) return child;
    return next.some(({ leaf }) => leaf) ? REDACTED : redact(child, next);
  };
  if (Array.isArray(value)) return value.map((_, index) => below(String(index)));
  // Object.fromEntries defines members: one named __proto__ stays a member.
  return Object.fromEntries(Object.keys(value).map((name) => [name, below(name)]));
}
