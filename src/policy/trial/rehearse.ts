import { findInJson, redactJson } from "../../data/redact-json.js";
import type { DataRule } from "../../data/rules.js";
import { conditionArguments } from "../arguments.js";
import { dataRulesFor, findingsDecision } from "../data.js";
import { decide } from "../decide.js";
import type { PolicyDecision, PolicySet, Question } from "../policy.js";

/** What would be decided about a call, and about what. */
export interface Rehearsal {
  /** With the arguments as conditions see them. */
  readonly question: Question;
  readonly decision: PolicyDecision;
  /** What rules for data found. */
  readonly found: readonly DataRule[];
  /** JSON text: what would be forwarded, or what the client would see of the result. */
  readonly text: string;
}

const strength = { BLOCK: 0, REVIEW: 1, ALLOW: 2 } as const;

/**
 * The whole decision about a call without a backend: what rules for data find in its arguments, and what everything else
 * says of what they leave.
 *
 * @param text the arguments, JSON; empty for none
 */
export function rehearse(set: PolicySet, question: Omit<Question, "args">, text: string): Rehearsal {
  const rules = text === "" ? [] : dataRulesFor(set, question, "arguments");
  const found = findInJson(text, rules);
  const left = redacted(text, found);
  const args = conditionArguments(left, left === "" ? {} : (JSON.parse(left) as unknown));
  const asked = { ...question, args };
  const said = decide(set, asked);
  return {
    question: asked,
    decision: stronger(said, findingsDecision(found, "arguments")),
    found,
    text: left,
  };
}

/** The same of the answer to a call that was let through: rules for data in results are all that is asked. */
export function rehearseResult(set: PolicySet, question: Omit<Question, "args">, text: string): Rehearsal {
  const found = findInJson(text, dataRulesFor(set, question, "results"));
  const passed: PolicyDecision = { decision: "ALLOW", rule: null, reason: "No rule for data withholds it." };
  return {
    question,
    decision: stronger(passed, findingsDecision(found, "results")),
    found,
    text: redacted(text, found),
  };
}

function redacted(text: string, found: readonly DataRule[]): string {
  const rules = found.filter(({ effect }) => effect === "redact");
  return rules.length === 0 ? text : redactJson(text, rules);
}

function stronger(said: PolicyDecision, data: PolicyDecision | null): PolicyDecision {
  return data === null || strength[said.decision] <= strength[data.decision] ? said : data;
}
