import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  type Node,
  parseDocument,
  stringify,
  visit,
  type YAMLSeq,
} from "yaml";
import { AegisError } from "../../errors.js";
import { listOf } from "../../policy/file/schema.js";
import type { List } from "../../policy/policy.js";

export interface NewRule {
  readonly action: string;
  readonly when?: string;
  readonly reason?: string;
}

/**
 * The text of a policy with one rule more at the end of a list. Everything else stays byte for byte, comments and order
 * too: the library finds the place, and only the new lines are written. It writes the whole file where there is no such
 * place.
 *
 * @throws AegisError policy_invalid where the text is not a mapping, or parts of it are shared
 */
export function addRule(text: string, list: List, rule: NewRule): string {
  const document = parseDocument(text, { keepSourceTokens: false });
  if (document.errors.length > 0 || !isMap(document.contents) || document.contents.flow === true) {
    throw new AegisError("policy_invalid", "The file is not one that a rule can be added to.", {
      hint: "It has to be a mapping with agent and lists, one below the other.",
    });
  }
  const { contents } = document;
  let shared = false;
  visit(document, {
    Alias: () => {
      shared = true;
      return visit.BREAK;
    },
  });
  if (shared) {
    // One list may be two, and a rule that is added to one be added to both.
    throw new AegisError("policy_invalid", "The file shares parts of itself by aliases (*name).", {
      hint: "Write them out, or add the rule by hand.",
    });
  }
  const key = [...listOf].find(([word, of]) => of === list && contents.has(word))?.[0] ?? list;
  const entry = rule.when === undefined && rule.reason === undefined ? rule.action : rule;
  const whole = byLibrary(document.clone(), key, entry);
  const spliced = splice(text, document.contents.get(key, true) ?? null, keyOf(document, key), key, entry);
  return spliced !== null && isSame(spliced, whole) ? spliced : whole;
}

/** A policy of this agent alone. */
export function newPolicy(agent: string, list: List, rule: NewRule): string {
  return addRule(stringify({ agent }), list, rule);
}

function byLibrary(document: Document, key: string, entry: string | NewRule): string {
  const list = document.get(key, true);
  if (isSeq(list)) list.add(document.createNode(entry));
  else document.set(key, document.createNode([entry]));
  return document.toString({ lineWidth: 0 });
}

function splice(
  text: string,
  list: unknown,
  keyNode: Node | null,
  key: string,
  entry: string | NewRule,
): string | null {
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  if (keyNode === null) {
    const gap = text === "" || text.endsWith("\n") ? "" : eol;
    return `${text}${gap}${eol}${[`${key}:`, ...lines(entry, "  ")].join(eol)}${eol}`;
  }
  if (isScalar(list) && list.value === null) {
    return insertAfterLine(text, keyNode.range?.[1] ?? 0, lines(entry, "  "), eol);
  }
  if (!isSeq(list)) return null;
  return list.flow === true ? spliceFlow(text, list, entry) : spliceBlock(text, list, entry, eol);
}

function spliceBlock(text: string, list: YAMLSeq, entry: string | NewRule, eol: string): string | null {
  const last = list.items.at(-1) as Node | undefined;
  const start = list.range?.[0];
  if (last?.range === undefined || last.range === null || start === undefined) return null;
  const column = start - (text.lastIndexOf("\n", start - 1) + 1);
  // What ends with its line has that line behind it already.
  const end = text[last.range[1] - 1] === "\n" ? last.range[1] - 1 : last.range[1];
  return insertAfterLine(text, end, lines(entry, " ".repeat(column)), eol);
}

function spliceFlow(text: string, list: YAMLSeq, entry: string | NewRule): string | null {
  const end = list.range?.[1];
  if (end === undefined) return null;
  const last = list.items.at(-1) as Node | undefined;
  const at = last?.range?.[1] ?? end - 1;
  const written = typeof entry === "string" ? quoted(entry) : flowMapping(entry);
  return `${text.slice(0, at)}${last === undefined ? "" : ", "}${written}${text.slice(at)}`;
}

/** The entry as lines of a block list whose dashes stand behind `indent`. */
function lines(entry: string | NewRule, indent: string): string[] {
  const [first = "", ...rest] = stringify(entry, { lineWidth: 0 }).trimEnd().split("\n");
  return [`${indent}- ${first}`, ...rest.map((line) => (line === "" ? "" : `${indent}  ${line}`))];
}

function insertAfterLine(text: string, offset: number, added: readonly string[], eol: string): string {
  const end = text.indexOf("\n", offset);
  const inserted = added.join(eol);
  if (end === -1) return `${text}${eol}${inserted}${eol}`;
  return `${text.slice(0, end + 1)}${inserted}${eol}${text.slice(end + 1)}`;
}

/** JSON is YAML, inside brackets too, where a plain text may end at a comma. */
function flowMapping(rule: NewRule): string {
  const members = Object.entries(rule).map(([name, value]) => `${name}: ${quoted(String(value))}`);
  return `{ ${members.join(", ")} }`;
}

function quoted(text: string): string {
  return /^[A-Za-z][A-Za-z0-9_.-]*$/.test(text) ? stringify(text).trim() : JSON.stringify(text);
}

function keyOf(document: Document, key: string): Node | null {
  if (!isMap(document.contents)) return null;
  const pair = document.contents.items.find((item) => isScalar(item.key) && item.key.value === key);
  return (pair?.key ?? null) as Node | null;
}

/** Whether the two say the same: what was spliced in is where the library would have put it. */
function isSame(spliced: string, whole: string): boolean {
  const [one, other] = [parseDocument(spliced), parseDocument(whole)];
  return one.errors.length === 0 && JSON.stringify(one.toJS()) === JSON.stringify(other.toJS());
}
