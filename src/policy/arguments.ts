/** A number that JavaScript cannot hold as it is written: 9007199254740993, 1e400. */
export class InexactNumber {
  /** As it is written. */
  constructor(readonly text: string) {}
}

/** Where no number is long or has an exponent, all of them are exact: most arguments are not looked at again. */
const suspect = /[\d.]{16}|\d[eE]/;

/** A text, to be passed over, or a number. No alternative inside a repetition: nothing backtracks. */
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/gs;

const mark = "\u0000number";

/** Longer than any number that JavaScript holds as it is written, but for zeros nobody needs. */
const longestNumber = 400;

/**
 * The arguments of a call as policy sees them: `parsed`, where every number is exactly what `text` says. One that is not
 * becomes an {@link InexactNumber}: a condition that touches it is an error (threats P20, P21).
 *
 * @param text the arguments as they are forwarded, JSON
 * @param parsed the same, parsed
 */
export function conditionArguments(text: string, parsed: unknown): unknown {
  if (!suspect.test(text)) return parsed;
  let inexact = false;
  const marked = text.replace(token, (found) => {
    if (found.startsWith('"') || isExactNumber(found)) return found;
    inexact = true;
    return `{${JSON.stringify(mark)}:"${found}"}`;
  });
  if (!inexact) return parsed;
  return JSON.parse(marked, (_name, value: unknown) => {
    const isMarked = typeof value === "object" && value !== null && Object.hasOwn(value, mark);
    return isMarked ? new InexactNumber(String(Reflect.get(value, mark))) : value;
  });
}

function isExactNumber(text: string): boolean {
  if (text.length > longestNumber) return false;
  const value = Number(text);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return false;
  return Number.isFinite(value) && digitsOf(text) === digitsOf(String(value));
}

/** Digits and exponent of a decimal number, the same for every way to write it. */
function digitsOf(text: string): string {
  const [, whole = "", fraction = "", exponent = "0"] =
    /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const all = `${whole}${fraction}`;
  let start = 0;
  while (all[start] === "0") start++;
  if (start === all.length) return "0";
  // Not by an expression that looks for zeros at the end: it begins anew at every zero.
  let end = all.length;
  while (all[end - 1] === "0") end--;
  const significant = all.slice(start, end);
  return `${significant}e${BigInt(exponent) - BigInt(fraction.length) + BigInt(all.length - end)}`;
}

const known = new WeakMap<object, unknown>();

/**
 * The same for the evaluator of conditions: reading a number that is not exact throws, and a member named `constructor`
 * is a member like any other. Arguments without either are given back as they are. Made once of each arguments, however
 * many conditions ask.
 */
export function guarded(args: unknown): unknown {
  if (typeof args !== "object" || args === null) return args;
  if (!known.has(args)) known.set(args, guard(args));
  return known.get(args);
}

function guard(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    const items = value.map(guard);
    if (items.every((item, index) => item === value[index] && !isInexact(item))) return value;
    return items.reduce((list: unknown[], item, index) => define(list, index, item), []);
  }
  if (isInexact(value)) return value;
  const members = Object.entries(value).map(([name, member]) => [name, guard(member)] as const);
  const changed = members.some(([name, member]) => isInexact(member) || member !== Reflect.get(value, name));
  // The evaluator tells kinds of values apart by their constructor: a Map keeps its own.
  if (Object.hasOwn(value, "constructor") && !members.some(([, member]) => isInexact(member)))
    return new Map(members);
  if (!changed) return value;
  const plain: object = {};
  for (const [name, member] of members) define(plain, name, member);
  return plain;
}

/** JSON knows an integer only by its size: whoever passed the arguments on may not have seen their text. */
function isInexact(value: unknown): boolean {
  if (value instanceof InexactNumber) return true;
  return typeof value === "number" && !Number.isSafeInteger(value) && !(Math.abs(value) < 2 ** 53);
}

function define<T extends object>(target: T, name: PropertyKey, value: unknown): T {
  const get = () => {
    throw new Error("a number is too large or too precise to be compared");
  };
  const inexact = isInexact(value);
  return Object.defineProperty(
    target,
    name,
    inexact ? { get, enumerable: true } : { value, enumerable: true },
  );
}
