import {
  type Finding,
  findings,
  findingsInShort,
  finished,
  isShort,
  markOf,
  type Search,
} from "./detectors.js";
import { type Leaf, leavesOf } from "./json-leaves.js";
import type { DataRule } from "./rules.js";
import type { Span } from "./secret-forms.js";

/**
 * JSON text with what the rules find in its strings, numbers and member names replaced by `[name]`, and everything else
 * byte for byte. A number that is found becomes a string. Linear in the length of the text.
 *
 * @param text what `JSON.parse` accepts
 * @throws Error where members that were told apart by what was found could not be told apart any more
 */
export function redactJson(text: string, rules: readonly DataRule[]): string {
  return finished(redacting(text, rules));
}

/** Which of the rules find something in JSON text, in the order given: in every leaf as it is written. */
export function findInJson(text: string, rules: readonly DataRule[]): readonly DataRule[] {
  return finished(searching(text, rules));
}

const none: ReadonlySet<number> = new Set();

/** Leaves between two places where the work may be interrupted. */
const PAUSE = 64;

/** {@link findInJson}, a piece at a time. @param passed where leaves begin that are not looked at */
export function* searching(
  text: string,
  rules: readonly DataRule[],
  passed = none,
): Search<readonly DataRule[]> {
  const found = new Set<DataRule>();
  if (rules.length === 0) return [];
  let count = 0;
  for (const leaf of leavesOf(text)) {
    if (found.size === rules.length) break;
    if (passed.has(leaf.start)) continue;
    for (const { rule } of isShort(leaf.text)
      ? shortFindings(leaf, rules)
      : yield* findings(leaf.text, leaf.name, rules))
      found.add(rule);
    if (++count % PAUSE === 0) yield;
  }
  return rules.filter((rule) => found.has(rule));
}

/** {@link redactJson}, a piece at a time. @param passed where leaves begin that stay as they are */
export function* redacting(text: string, rules: readonly DataRule[], passed = none): Search<string> {
  if (rules.length === 0) return text;
  const edits: Edit[] = [];
  const renamed = new Map<number, Edit[]>();
  let count = 0;
  for (const leaf of leavesOf(text)) {
    if (passed.has(leaf.start)) continue;
    const found = isShort(leaf.text)
      ? shortFindings(leaf, rules)
      : yield* findings(leaf.text, leaf.name, rules);
    if (++count % PAUSE === 0) yield;
    if (found.length === 0) continue;
    const mark = found[0] === undefined ? "" : quoted(markOf(found[0].rule));
    const edit = { leaf, mark, by: yield* redactLeaf(text, leaf, mark, found, rules) };
    edits.push(edit);
    if (leaf.kind !== "name") continue;
    const others = renamed.get(leaf.object);
    if (others === undefined) renamed.set(leaf.object, [edit]);
    else others.push(edit);
  }
  if (renamed.size > 0) tellApart(text, renamed);
  let out = "";
  let at = 0;
  for (const { leaf, by } of edits) {
    out += text.slice(at, leaf.start) + by;
    at = leaf.end;
  }
  return out + text.slice(at);
}

interface Edit {
  readonly leaf: Leaf;
  /** Of what was found first, as it stands in a literal. */
  readonly mark: string;
  /** A string literal. */
  by: string;
}

/** Redacting one part may let another appear at its edge; a text that goes on like that is replaced as a whole. */
const ROUNDS = 4;

function shortFindings({ kind, text, name }: Leaf, rules: readonly DataRule[]): readonly Finding[] {
  const found = findingsInShort(text, name, rules);
  if (found.length > 0 || kind !== "number" || !notPlain.test(text)) return found;
  // 4.111111111111111e15 is a card number all the same.
  return findingsInShort(String(Number(text)), name, rules);
}

const notPlain = /[.eE]/;

function* redactLeaf(
  text: string,
  leaf: Leaf,
  mark: string,
  first: readonly Finding[],
  rules: readonly DataRule[],
): Search<string> {
  if (leaf.kind === "number") return `"${mark}"`;
  let literal = text.slice(leaf.start, leaf.end);
  let found = first;
  for (let round = 0; found.length > 0; round++) {
    if (round === ROUNDS) return `"${mark}"`;
    literal = withMarks(literal, found);
    found = yield* findings(String(JSON.parse(literal)), leaf.name, rules);
  }
  return literal;
}

/** A string literal with the parts replaced; where they overlap, by the mark of the one that begins first. */
function withMarks(literal: string, found: readonly Finding[]): string {
  const parts: (Span & { by: string })[] = [];
  for (const { rule, spans } of found)
    for (const { start, end } of spans) parts.push({ start, end, by: quoted(markOf(rule)) });
  parts.sort((a, b) => a.start - b.start || b.end - a.end);
  const raw = new Positions(literal);
  let out = "";
  let at = 0;
  let covered = 0;
  for (const { start, end, by } of parts) {
    if (end <= covered) continue;
    if (start >= covered) out += literal.slice(at, raw.of(start)) + by;
    at = raw.of(end);
    covered = end;
  }
  return out + literal.slice(at);
}

/** Where the characters of a string stand in its literal. Asked in ascending order. */
class Positions {
  private character = 0;
  private at = 1;
  private readonly plain: boolean;

  constructor(private readonly literal: string) {
    this.plain = !literal.includes("\\");
  }

  of(character: number): number {
    if (this.plain) return character + 1;
    for (; this.character < character; this.character++) {
      if (this.literal[this.at] !== "\\") this.at++;
      else this.at += this.literal[this.at + 1] === "u" ? 6 : 2;
    }
    return this.at;
  }
}

function quoted(mark: string): string {
  return JSON.stringify(mark).slice(1, -1);
}

/** As many members of one object may get the same name. */
const ALIKE = 100;

/**
 * Two members of one object never get the same name, nor one that is there: of two equal ones each reader takes
 * another, and what was decided would not be what runs (threat P2). Each further one is a mark longer.
 */
function tellApart(text: string, renamed: ReadonlyMap<number, Edit[]>): void {
  const taken = new Map<number, Set<string>>([...renamed.keys()].map((object) => [object, new Set()]));
  const changed = new Map<number, ReadonlySet<number>>(
    [...renamed].map(([object, edits]) => [object, new Set(edits.map(({ leaf }) => leaf.start))]),
  );
  for (const { kind, object, start, text: name } of leavesOf(text))
    if (kind === "name" && changed.get(object)?.has(start) === false) taken.get(object)?.add(name);
  for (const [object, edits] of renamed) {
    const names = taken.get(object) ?? new Set();
    for (const edit of edits) {
      for (let tries = 0; names.has(nameIn(edit)); tries++) {
        if (tries === ALIKE) throw new Error(`more than ${ALIKE} members would have the same name`);
        edit.by = `${edit.by.slice(0, -1)}${edit.mark}"`;
      }
      names.add(nameIn(edit));
    }
  }
}

function nameIn({ by }: Edit): string {
  return String(JSON.parse(by));
}
