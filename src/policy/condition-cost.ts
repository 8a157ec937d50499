import type { ASTNode } from "@marcbachmann/cel-js";
import { regexProblem } from "../linear-regex.js";
import type { CallWindow, ConditionProblem } from "./condition.js";

/** What evaluating an expression can take (threat R12). */
export interface Cost {
  /** The work grows with this power of the size of the arguments. */
  readonly degree: number;
  /** Each character of a text counts, not a share of them: it makes lists of texts, or reads one again and again. */
  readonly byCharacter: boolean;
  readonly windows: readonly CallWindow[];
  readonly matches: ReadonlyArray<ASTNode & { readonly op: "rcall" }>;
}

/** Steps of one evaluation, each some 50 ns. */
const most = 4_000_000;
/** Loops inside loops. */
const deepest = 3;

const loops: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "map", "filter"]);
/** Give lists as long as a text; bytes() does behind dyn(). */
const listMakers: ReadonlySet<string> = new Set(["split", "bytes"]);
/** Take some 10 to 200 ns for each character. */
const slowReaders: ReadonlySet<string> = new Set(["matches", "size"]);

/** Not for conditions: each can take time or memory out of proportion, or give numbers that are not exact. */
const refused: ReadonlyMap<string, string> = new Map([
  ["bind", "cel.bind() is not supported"],
  ["json", "json() is not supported"],
]);

/** Walks the syntax tree once, ahead of any evaluation. */
export function costOf(root: ASTNode): Cost | ConditionProblem {
  const windows = new Set<CallWindow>();
  const matches: Array<ASTNode & { readonly op: "rcall" }> = [];
  let degree = 0;
  let byCharacter = false;
  let problem: ConditionProblem | null = null;

  const visit = (node: ASTNode, around: number, inLoop: boolean): void => {
    degree = Math.max(degree, around);
    if (node.op === "rcall" || node.op === "call") {
      const again = around > 1 || (inLoop && mentionsArgs(node));
      byCharacter ||= listMakers.has(node.args[0]) || (again && slowReaders.has(node.args[0]));
    }
    if (node.op === "rcall") {
      const [name, receiver, given] = node.args;
      problem ??= callProblem(node, name, given);
      if (name === "matches") matches.push(node);
      if (loops.has(name) && given.length >= 2) {
        visit(receiver, around, inLoop);
        for (const each of given.slice(1)) visit(each, around + 1, true);
        return;
      }
      // Its separator comes as often as the list has members, however long it is.
      if (name === "join" && given.some(({ op }) => op !== "value")) {
        byCharacter = true;
        visit(receiver, around, inLoop);
        for (const each of given) visit(each, around + 1, true);
        return;
      }
    }
    if (node.op === "call") problem ??= callProblem(node, node.args[0], node.args[1]);
    if (node.op === "id" && node.args === "calls") for (const window of everyWindow) windows.add(window);
    if (node.op === "." && node.args[0].op === "id" && node.args[0].args === "calls") {
      if (isWindow(node.args[1])) windows.add(node.args[1]);
      return;
    }
    // Asked for in every turn of a loop, as large as it may be.
    const more = inLoop && node.op === "id" && node.args === "args" ? 1 : 0;
    degree = Math.max(degree, around + more);
    for (const child of childrenOf(node)) visit(child, around, inLoop);
  };
  visit(root, 0, false);
  if (problem !== null) return problem;
  if (degree > deepest) return { message: "it has loops inside loops, too deep", offset: 0 };
  return { degree, byCharacter, windows: [...windows], matches };
}

function mentionsArgs(node: ASTNode): boolean {
  return (node.op === "id" && node.args === "args") || childrenOf(node).some(mentionsArgs);
}

const everyWindow = ["minute", "hour", "day"] as const;

function isWindow(name: string): name is CallWindow {
  return (everyWindow as readonly string[]).includes(name);
}

function callProblem(node: ASTNode, name: string, given: readonly ASTNode[]): ConditionProblem | null {
  const offset = node.start;
  const refusal = refused.get(name);
  if (refusal !== undefined) return { message: refusal, offset };
  const [first] = given;
  const literal = first?.op === "value" && typeof first.args === "string" ? first.args : null;
  if (name === "matches" && literal !== null) {
    const wrong = regexProblem(literal);
    if (wrong !== null)
      return {
        message: `the regular expression is not one of RE2: ${wrong}`,
        offset: first?.start ?? offset,
      };
  }
  // The library reads a duration in time that grows with a power of its length.
  if (name === "duration" && (literal === null || literal.length > 40))
    return { message: 'duration() takes a text of the policy, such as duration("10m")', offset };
  if (name === "linearMatches") return { message: "found no matching overload for 'linearMatches'", offset };
  return null;
}

function childrenOf(node: ASTNode): readonly ASTNode[] {
  const found: ASTNode[] = [];
  const collect = (value: unknown): void => {
    if (Array.isArray(value)) for (const each of value) collect(each);
    else if (isNode(value)) found.push(value);
  };
  collect(node.args);
  return found;
}

function isNode(value: unknown): value is ASTNode {
  return typeof value === "object" && value !== null && "op" in value && "args" in value;
}

/** Found out once for each arguments, however many conditions ask. */
const found = new WeakMap<object, Map<string, boolean>>();

/** Whether an expression would do too much with these arguments. */
export function isTooLarge(args: unknown, { degree, byCharacter }: Cost): boolean {
  if (degree <= 1 || typeof args !== "object" || args === null) return false;
  const known = found.get(args) ?? new Map<string, boolean>();
  found.set(args, known);
  const key = `${degree} ${byCharacter}`;
  const tooLarge = known.get(key) ?? weighed(args, most ** (1 / degree), byCharacter ? 1 : 1 / 64) < 0;
  known.set(key, tooLarge);
  return tooLarge;
}

/** What is `left` after a value's members and their names, and `share` of each character; no more is looked at below 0. */
function weighed(value: unknown, left: number, share: number): number {
  let rest = left - 1;
  if (typeof value === "string") return rest - value.length * share;
  if (typeof value !== "object" || value === null) return rest;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length && rest >= 0; i++) rest = weighed(value[i], rest, share);
    return rest;
  }
  for (const [name, member] of Object.entries(value)) {
    if (rest < 0) break;
    rest = weighed(member, rest - name.length * share, share);
  }
  return rest;
}
