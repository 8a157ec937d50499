import { keyOf } from "../frame/parse.js";
import { membersOf, type Span, skipSpace } from "../frame/text.js";

/** The answer of a server as text: what is searched, and what a person may be shown of it. */
export interface AnswerParts {
  /** Where begins what is the protocol's or the client's own, and no part of what the server says. */
  readonly ours: ReadonlySet<number>;
  /** The value of `result` or `error`. Null where that is not all it says: there are two, or members beside it. */
  readonly value: Span | null;
}

/** @param key the id that the client used, as JSON text */
export function partsOf(text: string, key: string): AnswerParts {
  const ours = new Set<number>();
  const values: Span[] = [];
  let others = 0;
  for (const { key: name, value } of membersOf(text, skipSpace(text, 0))) {
    const written = text.slice(value.start, Math.min(value.end, value.start + key.length + 16));
    const isValue = name === "result" || name === "error";
    const isOurs = (name === "jsonrpc" && written === '"2.0"') || (name === "id" && isId(written, key));
    if (isValue) values.push(value);
    if (isOurs) ours.add(value.start);
    if (isValue || isOurs) ours.add(startOfName(text, name, value.start));
    else others++;
  }
  return { ours, value: values.length === 1 && others === 0 ? (values[0] ?? null) : null };
}

function isId(written: string, key: string): boolean {
  if (written === key) return true;
  try {
    return keyOf(JSON.parse(written)) === key;
  } catch {
    return false;
  }
}

/** -1 where it is not written plainly: then it is looked at as well. */
function startOfName(text: string, name: string, value: number): number {
  let end = value;
  while (text.charCodeAt(end - 1) !== 34) end--;
  const start = end - name.length - 2;
  return text.slice(start, end) === `"${name}"` ? start : -1;
}
