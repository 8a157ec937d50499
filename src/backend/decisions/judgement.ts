import type { Intent } from "../../client/backend.js";
import type { DataEffect, DataRule } from "../../data/rules.js";
import { nameProblem, sdkServer } from "../../names.js";
import { findingsDecision } from "../../policy/data.js";
import { decide as decideByPolicy } from "../../policy/decide.js";
import { type Declared, decideDeclared } from "../../policy/declared.js";
import type { PolicyDecision, PolicySet, Question, ToolFacts } from "../../policy/policy.js";
import { sdkCall } from "../sdk/action.js";

/** What a decision depends on beside the call and the policy. */
export interface Situation {
  readonly facts: ToolFacts;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** By `countKey`: all that the policy needs for this call. */
  readonly counts: ReadonlyMap<string, number>;
  readonly declared: readonly Declared[];
}

/** A call, the policy it is asked about, and what that found in its arguments before it redacted them. */
export interface Judged {
  readonly intent: Intent;
  readonly policies: PolicySet;
  /** The arguments as conditions see them; parsed when a rule looks at them. */
  readonly args: () => unknown;
  readonly found: readonly DataRule[];
}

const words: ReadonlySet<unknown> = new Set(["ALLOW", "BLOCK", "REVIEW"]);
const done: Readonly<Record<DataEffect, string>> = { block: "blocked", review: "held", redact: "redacted" };

/** What policy says of a call, or of its answer. Never throws: what could not be decided is a BLOCK. */
export function judge(judged: Judged, situation: Situation): PolicyDecision {
  const { intent, policies, found } = judged;
  try {
    const problem = problemOf(intent);
    if (problem !== null) return { decision: "BLOCK", rule: null, reason: `Blocked: ${problem}.` };
    if (intent.stage === "result") return findingsDecision(found, "results") ?? allowedResult;
    const { declared } = situation;
    const question = questionOf(judged, situation);
    const said =
      declared.length === 0
        ? decideByPolicy(policies, question)
        : decideDeclared(policies, declared, question);
    // A word that is none of ours allows nothing (threat P11).
    return words.has(said.decision) ? said : policyError("the policy gave an unknown verdict");
  } catch {
    // What was thrown may quote an argument: it is not told.
    return policyError("the policy could not be evaluated for this call");
  }
}

/** @param reason a sentence without its full stop */
export function policyError(reason: string): PolicyDecision {
  return {
    decision: "BLOCK",
    rule: null,
    reason: `policy_error: ${reason}. The call is blocked.`,
    error: true,
  };
}

/** What rules for data found, for the record; null where they found nothing. */
export function findingsOf({
  intent,
  found,
}: Pick<Judged, "found"> & { readonly intent: Pick<Intent, "stage"> }): string | null {
  if (found.length === 0) return null;
  const where = intent.stage === "result" ? "results" : "arguments";
  return [...new Set(found.map(({ name, effect }) => `${name} in ${where}: ${done[effect]}`))].join("; ");
}

const allowedResult: PolicyDecision = {
  decision: "ALLOW",
  rule: null,
  reason: "No rule for data in results withholds it.",
};

function questionOf({ intent, args, found }: Judged, { facts, now, counts }: Situation): Question {
  const { agent, server, tool, action, client } = intent;
  return {
    agent,
    server,
    tool,
    action,
    get args(): unknown {
      return args();
    },
    ...(client === undefined ? {} : { client }),
    found,
    known: facts,
    now,
    counts,
  };
}

function problemOf({ server, tool, action }: Intent): string | null {
  for (const [what, name] of [["server", server] as const, ["tool", tool], ["action", action]]) {
    const problem = nameProblem(name);
    if (problem !== null) return `the name of the ${what} ${problem}`;
  }
  // Policy goes by the action, an approval by server and tool: they are to be one thing.
  if (action === `${server}__${tool}` || isOfSdk({ server, tool, action })) return null;
  return "the action is not the name of this server's tool";
}

/** A function that begins with underscores, or with `sdk__`, is its own action. */
function isOfSdk({ server, tool, action }: Pick<Intent, "server" | "tool" | "action">): boolean {
  if (server !== sdkServer) return false;
  const call = sdkCall(tool);
  return call.server === sdkServer && call.action === action;
}
