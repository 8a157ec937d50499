/** Walking over JSON text that `JSON.parse` has accepted: every function here relies on that, and only on that. */

const QUOTE = 34;
const BACKSLASH = 92;

/** Up to here a character loop is faster than the call of `indexOf`; behind it that runs at memory speed. */
const SHORT = 32;

/** The index behind the string literal that starts at `start`. */
export function endOfString(text: string, start: number): number {
  let i = start + 1;
  for (const end = i + SHORT; i < end; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) return i + 1;
    if (c === BACKSLASH) i++;
  }
  let quote = text.indexOf('"', i);
  while (text.charCodeAt(quote - 1) === BACKSLASH) {
    let slashes = 1;
    while (text.charCodeAt(quote - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) break;
    quote = text.indexOf('"', quote + 1);
  }
  if (quote < 0) throw new SyntaxError("unterminated string");
  return quote + 1;
}

/** The value of the string literal `text.slice(start, end)`. */
export function decodeString(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end - 1);
  return inner.includes("\\") ? String(JSON.parse(text.slice(start, end))) : inner;
}

/** The first index at or behind `at` that is not JSON white space. */
export function skipSpace(text: string, at: number): number {
  let i = at;
  for (;;) {
    const c = text.charCodeAt(i);
    if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return i;
    i++;
  }
}

export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The index behind the value that starts at `start`. */
export function endOfValue(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === QUOTE) return endOfString(text, start);
  let i = start;
  if (first !== 123 && first !== 91) {
    for (; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (c === 44 || c === 125 || c === 93 || c <= 32) break;
    }
    return i;
  }
  let depth = 0;
  while (i < text.length) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      i = endOfString(text, i);
      continue;
    }
    i++;
    if (c === 123 || c === 91) depth++;
    else if ((c === 125 || c === 93) && --depth === 0) return i;
  }
  throw new SyntaxError("unterminated value");
}

/** The members of the object at `start`, in the order they stand there. */
export function* membersOf(text: string, start: number): Generator<{ key: string; value: Span }> {
  let i = skipSpace(text, start + 1);
  while (text.charCodeAt(i) === QUOTE) {
    const keyEnd = endOfString(text, i);
    const key = decodeString(text, i, keyEnd);
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = endOfValue(text, valueStart);
    yield { key, value: { start: valueStart, end } };
    i = skipSpace(text, end);
    if (text.charCodeAt(i) === 44) i = skipSpace(text, i + 1);
  }
}

/** The elements of the array at `start`. */
export function* elementsOf(text: string, start: number): Generator<Span> {
  let i = skipSpace(text, start + 1);
  while (i < text.length && text.charCodeAt(i) !== 93) {
    const end = endOfValue(text, i);
    yield { start: i, end };
    i = skipSpace(text, end);
    if (text.charCodeAt(i) === 44) i = skipSpace(text, i + 1);
  }
}

/** The value found by following `path` from the object that `text` is; undefined where a member is missing. */
export function spanAt(text: string, ...path: readonly string[]): Span | undefined {
  let start = skipSpace(text, 0);
  let found: Span | undefined;
  for (const name of path) {
    if (text.charCodeAt(start) !== 123) return undefined;
    found = undefined;
    for (const member of membersOf(text, start)) {
      if (member.key === name) {
        found = member.value;
        break;
      }
    }
    if (found === undefined) return undefined;
    start = found.start;
  }
  return found;
}

/** `text` with the bytes of one value exchanged. */
export function splice(text: string, span: Span, replacement: string): string {
  return text.slice(0, span.start) + replacement + text.slice(span.end);
}

/** The same JSON on one line: a line break outside of a string is white space, inside it cannot stand. */
export function oneLine(text: string): string {
  return text.includes("\n") || text.includes("\r") ? text.replace(/[\r\n]+/g, " ") : text;
}
