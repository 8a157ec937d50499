import { AegisError } from "../../errors.js";
import { conditionArguments } from "../../policy/arguments.js";
import { decide } from "../../policy/decide.js";
import { ruleLabel } from "../../policy/label.js";
import type { List, PolicyFile, PolicySet, Question, ToolFacts } from "../../policy/policy.js";
import { explain } from "../../policy/trial/explain.js";
import { uncounted } from "../../policy/trial/uncounted.js";
import { visible } from "../../visible.js";
import { type CommonOptions, type Context, withBackend } from "../context.js";
import type { NewRule } from "./edit.js";
import { isRedacted } from "./exact-condition.js";
import { type KnownTool, knownTool } from "./known-tool.js";

/** What a rule is made for. */
export interface Subject {
  readonly agent: string;
  readonly action: string;
  /** JSON, empty for none; null where nobody has them. */
  readonly args: string | null;
  /** The approval it is from. */
  readonly from: number | null;
}

/** What becomes of the call it was made for. */
export interface Effect {
  readonly was: string;
  readonly decision: string;
  readonly rule: string | null;
  readonly reason: string;
  /** The new rule matches. */
  readonly added: boolean;
}

interface Options extends CommonOptions {
  readonly from?: number;
  readonly agent?: string;
  readonly action?: string;
}

/** @throws AegisError usage, unknown_approval */
export async function subjectOf(context: Context, options: Options): Promise<Subject> {
  const { from, agent, action } = options;
  if (from === undefined) {
    if (agent !== undefined && action !== undefined) return { agent, action, args: null, from: null };
    throw new AegisError("usage", "A rule is made for an approval, or for an agent and an action.", {
      hint: "Write --from 7, or --agent claude-desktop --action files__read_text_file.",
    });
  }
  const approval = await withBackend(context, options, ({ backend }) => backend.approval(from));
  if (approval.stage === "result") {
    const { rule } = approval;
    throw new AegisError(
      "usage",
      `Approval ${from} is about the result of a call that has run: no rule for calls decides that.`,
      {
        hint: `What holds it is ${rule === null ? "below `data:` in a policy" : `the rule ${visible(rule)}`}.`,
      },
    );
  }
  for (const [flag, named, is] of [
    ["--agent", agent, approval.agent],
    ["--action", action, approval.action],
  ] as const) {
    if (named === undefined || named === is) continue;
    throw new AegisError("usage", `${flag} ${visible(named)}: approval ${from} is about ${visible(is)}.`);
  }
  return { agent: approval.agent, action: approval.action, args: approval.arguments, from };
}

/** Null where that cannot be told: a pattern is no call, and redacted arguments are not those it was made with. */
export function effectOf(
  subject: Subject,
  before: PolicySet,
  after: PolicySet,
  added: { readonly file: PolicyFile; readonly list: List; readonly rule: NewRule },
  { facts }: KnownTool,
): Effect | null {
  const question = questionOf(subject, facts);
  if (question === null) return null;
  const { file, list, rule } = added;
  const written = file.rules.findLast(
    (each) => each.list === list && each.pattern === rule.action && each.when === rule.when,
  );
  const label = written === undefined ? null : ruleLabel(written);
  const { decision, rules } = explain(after, question);
  // Without arguments, a condition says nothing about a call that will have some.
  if (subject.args === null && (decision.error === true || rule.when !== undefined)) return null;
  return {
    was: decide(before, question).decision,
    decision: decision.decision,
    rule: decision.rule,
    reason: decision.reason,
    added: rules.some((each) => each.rule === label && holds(each)),
  };
}

function holds(rule: { readonly matched: boolean; readonly condition?: string | null }): boolean {
  return rule.matched && (rule.condition ?? "true") === "true";
}

/** What a backend knows of the tool that a rule is made for. */
export async function toolOf(context: Context, options: Options, subject: Subject): Promise<KnownTool> {
  const asked = questionOf({ ...subject, args: null }, null);
  // A pattern names many tools.
  return asked === null ? { facts: null, unknown: "" } : knownTool(context, options, asked);
}

function questionOf({ agent, action, args }: Subject, facts: ToolFacts | null): Question | null {
  const [, server, tool] = /^(.+?)__(.+)$/s.exec(action) ?? [];
  if (server === undefined || tool === undefined || action.includes("*")) return null;
  const known = facts === null ? {} : { known: facts };
  const question = { agent, server, tool, action, ...known, now: Date.now(), counts: uncounted() };
  if (args === null || args === "") return { ...question, args: {} };
  const parsed = parsedOf(args);
  return parsed === undefined ? null : { ...question, args: conditionArguments(args, parsed) };
}

function parsedOf(args: string): unknown {
  try {
    let redacted = false;
    const parsed: unknown = JSON.parse(args, (name, value: unknown) => {
      redacted ||= isRedacted(name) || (typeof value === "string" && isRedacted(value));
      return value;
    });
    return redacted ? undefined : parsed;
  } catch {
    return undefined;
  }
}
