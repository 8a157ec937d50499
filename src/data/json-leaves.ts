/** A string, a number or a member name in JSON text, as it is written there: from `start` up to `end`. */
export interface Leaf {
  readonly kind: "string" | "number" | "name";
  readonly start: number;
  readonly end: number;
  /** What it says: of a string its value, of a number how it is written. */
  readonly text: string;
  /** The member name it is the value of, or that of the list it is in; empty without one, and for a name itself. */
  readonly name: string;
  /** The object that a name belongs to: by its number, in the order in which they begin. */
  readonly object: number;
}

const QUOTE = 34;
const BACKSLASH = 92;

/**
 * Every leaf of JSON text, in the order they stand there, duplicates included: what `JSON.parse` drops of two equal
 * names, another reader may keep.
 *
 * @param text what `JSON.parse` accepts; of anything else the answer means nothing
 */
export function* leavesOf(text: string): Generator<Leaf> {
  /** By level: the number of the object, or -1 of a list; and the name that its values are under. */
  const objects: number[] = [];
  const names: string[] = [""];
  let count = 0;
  let expectName = false;
  for (let i = 0; i < text.length; ) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      const end = endOfString(text, i);
      const object = objects.at(-1) ?? -1;
      const value = decoded(text, i, end);
      const name = expectName ? "" : (names.at(-1) ?? "");
      yield { kind: expectName ? "name" : "string", start: i, end, text: value, name, object };
      if (expectName) names[names.length - 1] = value;
      expectName = false;
      i = end;
    } else if (c === 45 || (c >= 48 && c <= 57)) {
      let end = i + 1;
      while (isOfNumber(text.charCodeAt(end))) end++;
      const name = names.at(-1) ?? "";
      yield { kind: "number", start: i, end, text: text.slice(i, end), name, object: objects.at(-1) ?? -1 };
      i = end;
    } else {
      if (c === 123 || c === 91) {
        names.push(c === 123 ? "" : (names.at(-1) ?? ""));
        objects.push(c === 123 ? count++ : -1);
        expectName = c === 123;
      } else if (c === 125 || c === 93) {
        names.pop();
        objects.pop();
        expectName = false;
      } else if (c === 44) {
        expectName = objects.at(-1) !== -1;
      }
      i++;
    }
  }
}

function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let slashes = 0;
    while (text.charCodeAt(quote - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return quote + 1;
  }
  throw new SyntaxError("unterminated string");
}

function decoded(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end - 1);
  return inner.includes("\\") ? String(JSON.parse(text.slice(start, end))) : inner;
}

/** Digits, and what else a number may hold: `+ - . E e`. */
function isOfNumber(c: number): boolean {
  return (c >= 48 && c <= 57) || c === 43 || c === 45 || c === 46 || c === 69 || c === 101;
}
