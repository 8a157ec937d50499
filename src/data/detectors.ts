import { linearRegex } from "../linear-regex.js";
import { cardNumbersIn } from "./cards.js";
import { nationalIdsIn } from "./national-ids.js";
import type { DataRule } from "./rules.js";
import { type Span, secretsIn, united } from "./secret-forms.js";

/** Work that may be interrupted wherever it yields. */
export type Search<T> = Generator<void, T>;

/** Does the whole work at once. */
export function finished<T>(search: Search<T>): T {
  for (;;) {
    const step = search.next();
    if (step.done === true) return step.value;
  }
}

/** What one rule found in a text. */
export interface Finding {
  readonly rule: DataRule;
  /** In order, apart from one another; at least one. */
  readonly spans: readonly Span[];
}

/** A longer text is read in pieces of this many characters, each with the end of the one before it. */
const WINDOW = 65_536;
const OVERLAP = 8_192;
/** So far a detector looks around what it finds. */
const CONTEXT = 64;
/**
 * How often a custom pattern may read a text: each match may cost a look at all that follows. Then the rest is taken as
 * found. Enough for 64 matches that are spread evenly over the text.
 */
const READINGS = 32;

/**
 * Which of the rules find something in parsed JSON, in the order given: in strings, numbers and member names. Numbers
 * are seen as far as JavaScript keeps them; `findInJson` sees them as they are written.
 */
export function findIn(value: unknown, rules: readonly DataRule[]): readonly DataRule[] {
  if (rules.length === 0) return [];
  const found = new Set<DataRule>();
  // Not by recursion: an answer of a server may be nested deeper than the stack.
  const open: [value: unknown, name: string][] = [[value, ""]];
  for (let next = open.pop(); next !== undefined && found.size < rules.length; next = open.pop()) {
    const [inner, name] = next;
    if (typeof inner === "string") look(inner, name);
    else if (typeof inner === "number") look(String(inner), name);
    else if (Array.isArray(inner)) for (const each of inner) open.push([each, name]);
    else if (typeof inner === "object" && inner !== null) {
      for (const [key, each] of Object.entries(inner)) {
        look(key, "");
        open.push([each, key]);
      }
    }
  }
  return rules.filter((rule) => found.has(rule));

  function look(text: string, name: string): void {
    const all = isShort(text) ? findingsInShort(text, name, rules) : finished(findings(text, name, rules));
    for (const { rule } of all) found.add(rule);
  }
}

/**
 * What the rules find in one text, in the order given. The time is proportional to its length: a custom pattern reads
 * it at most {@link READINGS} times.
 *
 * @param name of the member whose value the text is, or which holds the list it is in; empty without one
 */
export function* findings(
  text: string,
  name: string,
  rules: readonly DataRule[],
): Search<readonly Finding[]> {
  if (isShort(text)) return findingsInShort(text, name, rules);
  const found: (readonly Span[])[] = [];
  for (const rule of rules) found.push(yield* inPieces(text, (part) => spansIn(rule, part, name)));
  return withoutMarks(text, rules, found);
}

/** Most texts are: they are read at once, without the cost of being interruptible. */
export function isShort(text: string): boolean {
  return text.length <= WINDOW;
}

export function findingsInShort(text: string, name: string, rules: readonly DataRule[]): readonly Finding[] {
  let found: (readonly Span[])[] | null = null;
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i];
    const spans = rule === undefined ? [] : spansIn(rule, text, name);
    if (spans.length === 0) continue;
    found ??= [];
    found[i] = spans;
  }
  return found === null ? nothing : withoutMarks(text, rules, found);
}

const nothing: readonly Finding[] = [];

/** What was replaced is not found again, whatever a custom pattern makes of its mark, or of `password=[secrets]`. */
function withoutMarks(
  text: string,
  rules: readonly DataRule[],
  found: readonly (readonly Span[] | undefined)[],
): readonly Finding[] {
  const marks = marksIn(text, rules);
  return rules.flatMap((rule, index) => {
    const spans = uncovered(united([...(found[index] ?? [])]), marks);
    return spans.length === 0 ? [] : [{ rule, spans }];
  });
}

/** What stands in place of a part that was found. */
export function markOf(rule: DataRule): string {
  return `[${rule.name}]`;
}

function spansIn(rule: DataRule, text: string, name: string): readonly Span[] {
  switch (rule.detect) {
    case "secrets":
      return secretsOf(text, name);
    case "card_numbers":
      return cardNumbersIn(text);
    case "national_ids":
      return nationalIdsIn(text, name);
    case "custom":
      return customIn(rule, text);
  }
}

/** Members that hold a secret, whatever its form. */
const secretName =
  /(?:password|passwd|passphrase|clientsecret|apikey|apisecret|privatekey|secretkey|accesskey|accesstoken|refreshtoken|authtoken)$/;
/** What stands behind `password:` in a program or a form, and is none. */
const noSecret =
  /^(?:string|str|text|null|none|nil|undefined|true|false|required|optional|hidden|\*+|<[^<>]*>?|\$\{[^{}]*\}|\$\w+|process\.env\.\w+|os\.environ\S*)[\])}.;,|?!]*$/i;

/** What is known of names seen before: the same few in every row of an answer. */
const judged = new Map<string, boolean>();
const remembered = 2_048;

function secretsOf(text: string, name: string): readonly Span[] {
  if (namesSecret(name) && text.length >= 3 && !(text.length <= CONTEXT && noSecret.test(text)))
    return [{ start: 0, end: text.length }];
  const found = secretsIn(text);
  if (found.length === 0) return found;
  return found.filter(({ start, end }) => end - start > CONTEXT || !noSecret.test(text.slice(start, end)));
}

function namesSecret(name: string): boolean {
  if (name.length < 6 || name.length > CONTEXT) return false;
  let secret = judged.get(name);
  if (secret === undefined) {
    secret = secretName.test(name.toLowerCase().replace(/[^a-z]/g, ""));
    if (judged.size >= remembered) judged.clear();
    judged.set(name, secret);
  }
  return secret;
}

/** @throws Error where the pattern is none: it cannot be said that nothing was found */
function customIn({ pattern, name }: DataRule, text: string): readonly Span[] {
  if (pattern === null) throw new Error(`the data rule ${name} has no pattern`);
  const found: Span[] = [];
  const matcher = linearRegex(pattern).matcher(text);
  let left = READINGS * text.length;
  while (matcher.find()) {
    const span = { start: matcher.start(), end: matcher.end() };
    // As far as the next search may read, whatever it finds.
    left -= text.length - span.end;
    if (left < 0) {
      found.push({ start: span.start, end: text.length });
      break;
    }
    if (span.end > span.start) found.push(span);
  }
  return found;
}

function* inPieces(text: string, find: (part: string) => readonly Span[]): Search<readonly Span[]> {
  const found: Span[] = [];
  for (let at = 0; ; at += WINDOW - OVERLAP) {
    const part = text.slice(at, at + WINDOW);
    const last = at + WINDOW >= text.length;
    for (const { start, end } of find(part)) {
      // At an edge of a piece half of the context is missing: the piece beside it has the whole.
      if (at > 0 && start < CONTEXT && end <= OVERLAP - CONTEXT) continue;
      const cut = !last && end > WINDOW - CONTEXT;
      if (cut && start >= WINDOW - OVERLAP + CONTEXT) continue;
      // Where it ends was not seen: no part of it may be left.
      if (cut) return [...found, { start: at + start, end: text.length }];
      found.push({ start: at + start, end: at + end });
    }
    if (last) return found;
    yield;
  }
}

function marksIn(text: string, rules: readonly DataRule[]): readonly Span[] {
  const marks: Span[] = [];
  for (const mark of new Set(rules.map(markOf))) {
    for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, at + mark.length))
      marks.push({ start: at, end: at + mark.length });
  }
  return united(marks);
}

/** The spans that are not wholly within marks; both are in order. */
function uncovered(spans: readonly Span[], marks: readonly Span[]): readonly Span[] {
  if (marks.length === 0) return spans;
  let first = 0;
  return spans.filter(({ start, end }) => {
    while ((marks[first]?.end ?? Number.POSITIVE_INFINITY) <= start) first++;
    let at = start;
    for (let i = first; at < end; i++) {
      const mark = marks[i];
      if (mark === undefined || mark.start > at) return true;
      at = mark.end;
    }
    return false;
  });
}
