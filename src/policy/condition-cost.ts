import type { ASTNode } from "@marcbachmann/cel-js";
import { regexProblem } from "../linear-regex.js";
import type { CallWindow, ConditionProblem } from "./condition.js";

/** What evaluating an expression can take (threat R12). */
export interface Cost {
  /** The work grows with this power of the size of the arguments. */
  readonly degree: number;
  /** The most of it that is done. */
  readonly most: number;
  readonly windows: readonly CallWindow[];
  readonly matches: ReadonlyArray<ASTNode & { readonly op: "rcall" }>;
}

/** Steps of one evaluation, each some 50 ns. */
const most = 4_000_000;
/** Loops inside loops. */
const deepest = 3;

const loops: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "map", "filter"]);

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
  let problem: ConditionProblem | null = null;

  const visit = (node: ASTNode, around: number, inLoop: boolean): void => {
    degree = Math.max(degree, around);
    if (node.op === "rcall") {
      const [name, receiver, given] = node.args;
      problem ??= callProblem(node, name, given);
      if (name === "matches") matches.push(node);
      if (loops.has(name) && given.length >= 2) {
        visit(receiver, around, inLoop);
        for (const each of given.slice(1)) visit(each, around + 1, true);
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
  return { degree, most, windows: [...windows], matches };
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

/** How large arguments are: their members, and a share of their characters. */
export function weightOf(value: unknown): number {
  if (typeof value === "string") return 1 + value.length / 64;
  if (typeof value !== "object" || value === null) return 1;
  let weight = 1;
  const members: Iterable<unknown> =
    value instanceof Map
      ? value.values()
      : Object.values(Object.getOwnPropertyDescriptors(value)).map((one): unknown => one.value);
  for (const member of members) weight += weightOf(member);
  return weight;
}
