import { type ASTNode, Environment, type ParseResult } from "@marcbachmann/cel-js";
import { linearTest } from "../linear-regex.js";
import { guarded } from "./arguments.js";
import { type Cost, costOf, isTooLarge } from "./condition-cost.js";
import { type CountKey, countKey, type Question } from "./policy.js";

/** The windows that conditions can ask for, in milliseconds. */
export const callWindows = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;

export type CallWindow = keyof typeof callWindows;

/** What is wrong with an expression, and where in it, counted in characters from its start. */
export interface ConditionProblem {
  readonly message: string;
  readonly offset: number;
}

/** A condition that was compiled: what it says of a call. Never throws. */
export interface Condition {
  readonly windows: readonly CallWindow[];
  readonly test: (question: Question) => boolean | ConditionError;
}

/** Why a condition could not be evaluated, as a phrase. Names no value: it goes to the model and into the ledger. */
export class ConditionError {
  constructor(readonly why: string) {}
}

/** Longest expression, in characters. */
const longest = 4_000;

/** `matches` of the library backtracks; ours, under a name that cannot be written, is put in its place. */
const ourMatches = "linearMatches";

const environment = new Environment({
  homogeneousAggregateLiterals: false,
  limits: { maxAstNodes: 1_000, maxDepth: 50, maxListElements: 500, maxMapEntries: 100, maxCallArguments: 8 },
})
  .registerVariable("args", "map")
  .registerVariable("agent", "string")
  .registerVariable("server", "string")
  .registerVariable({ name: "tool", schema: { name: "string", claims: "map" } })
  .registerVariable({ name: "client", schema: { name: "string", version: "string" } })
  .registerVariable("now", "google.protobuf.Timestamp")
  .registerVariable({ name: "calls", schema: { minute: "int", hour: "int", day: "int" } })
  .registerFunction(`string.${ourMatches}(string): bool`, (text: string, pattern: string) =>
    linearTest(pattern, text),
  );

/** Conditions by their text: the same one is often written for many tools. */
const compiled = new Map<string, Condition | ConditionProblem>();
const remembered = 20_000;

/** Compiles an expression, or says what is wrong with it: unknown names, types that cannot be, results that are not bool. */
export function compileCondition(expression: string): Condition | ConditionProblem {
  let known = compiled.get(expression);
  if (known === undefined) {
    known = compile(expression);
    if (compiled.size >= remembered) compiled.clear();
    compiled.set(expression, known);
  }
  return known;
}

/** What is wrong with an expression; null where it is a condition. */
export function conditionProblem(expression: string): ConditionProblem | null {
  const result = compileCondition(expression);
  return "message" in result ? result : null;
}

function compile(expression: string): Condition | ConditionProblem {
  if (expression.length > longest)
    return { message: `it is longer than ${longest} characters`, offset: longest };
  try {
    const parsed = environment.parse(expression);
    const cost = costOf(parsed.ast);
    if ("message" in cost) return cost;
    for (const call of cost.matches) rename(call);
    const checked = parsed.check();
    if (!checked.valid) return problemOf(checked.error);
    if (checked.type !== "bool" && checked.type !== "dyn")
      return { message: `it is of the type ${checked.type}, not true or false`, offset: 0 };
    return { windows: cost.windows, test: (question) => evaluate(parsed, cost, question) };
  } catch (thrown) {
    return problemOf(thrown);
  }
}

/** The syntax tree is given to the evaluator as it is: another name is another function. */
function rename(call: ASTNode & { readonly op: "rcall" }): void {
  (call.args as unknown as [string, ...unknown[]])[0] = ourMatches;
}

function problemOf(thrown: unknown): ConditionProblem {
  const { summary, range } = thrown as { summary?: unknown; range?: { start?: unknown } };
  const message = typeof summary === "string" ? summary : "it cannot be read";
  const start = range?.start;
  return {
    message: message.replaceAll(ourMatches, "matches").replace(/^./, (first) => first.toLowerCase()),
    offset: typeof start === "number" ? start : 0,
  };
}

function evaluate(parsed: ParseResult, cost: Cost, question: Question): boolean | ConditionError {
  try {
    const { agent, server, tool, known, client, now } = question;
    const given = question.args ?? {};
    if (isTooLarge(given, cost)) return new ConditionError("the arguments are too large for it");
    const args = guarded(given);
    const result: unknown = parsed({
      args,
      agent,
      server,
      tool: { name: tool, claims: known?.claims ?? {} },
      client,
      now: now === undefined ? undefined : new Date(now),
      ...(cost.windows.length === 0 ? {} : { calls: callsOf(question, cost.windows) }),
    });
    return typeof result === "boolean" ? result : new ConditionError("it gives neither true nor false");
  } catch (thrown) {
    return new ConditionError(whyOf(thrown));
  }
}

function callsOf({ counts, action }: Question, windows: readonly CallWindow[]): Record<string, bigint> {
  const calls: Record<string, bigint> = {};
  for (const window of windows) {
    const count = counts?.get(countKey(callsKey(action, window)));
    if (count !== undefined) calls[window] = BigInt(count);
  }
  return calls;
}

/** What `calls` counts: this action by this agent. */
export function callsKey(action: string, window: CallWindow): CountKey {
  return { pattern: action, window: callWindows[window] };
}

/**
 * What is missing, and how to ask for it first, in the words of the expression; the message of the evaluator would name
 * what an index comes to, which is a value.
 */
function missing({ node }: { readonly node?: unknown }): string {
  const { op, args, input } = (node ?? {}) as Partial<ASTNode>;
  const textOf = (part: unknown): string => {
    const { start, end } = (part ?? {}) as { start?: unknown; end?: unknown };
    return typeof start === "number" && typeof end === "number" ? (input ?? "").slice(start, end) : "";
  };
  const path = textOf(node);
  if (!/^[\w.[\]"' -]{1,100}$/.test(path)) return "something it asks for is missing";
  let first: string | null = null;
  if (op === ".") first = `has(${path})`;
  else if (op === "[]" && Array.isArray(args)) {
    const [within, member] = args as readonly unknown[];
    const { op: kind, args: name } = member as ASTNode;
    if (kind === "value" && typeof name === "string") first = `${textOf(member)} in ${textOf(within)}`;
  }
  return first === null ? `${path} is missing` : `${path} is missing; ask for it first: \`${first} && …\``;
}

/** The messages of the evaluator quote values: only the kind of its error is told. */
function whyOf(thrown: unknown): string {
  if (typeof thrown !== "object" || thrown === null) return "it failed";
  const { code, message } = thrown as { code?: unknown; message?: unknown };
  switch (code) {
    case "no_such_key":
    case "index_out_of_bounds":
      return missing(thrown);
    case "no_such_overload":
    case "no_matching_overload":
    case "field_type_mismatch":
    case "list_item_type_mismatch":
    case "variable_type_mismatch":
    case "invalid_logical_operand":
    case "invalid_condition_type":
    case "invalid_comprehension_range":
      return "a value is of another type than it expects";
    case "unknown_variable":
      return "something it asks for is not known of this call";
    case "unsupported_type":
      return "a value is of a kind it cannot compare";
    case undefined:
      return typeof message === "string" && message.startsWith("a number is too large")
        ? message
        : "it failed";
    default:
      return "it failed";
  }
}
