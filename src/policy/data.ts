import type { DataRule } from "../data/rules.js";
import { candidatesOf } from "./candidates.js";
import { rulesFor } from "./compile.js";
import type { PolicyDecision, PolicySet, Question } from "./policy.js";

/** The rules for data in the arguments or the result of this call, without those in shadow. */
export function dataRulesFor(
  set: PolicySet,
  question: Pick<Question, "agent" | "server" | "tool" | "action">,
  where: "arguments" | "results",
): readonly DataRule[] {
  const { data, results } = candidatesOf(rulesFor(set, question.agent), question);
  return (where === "arguments" ? data : results).map(({ data: rule }) => rule);
}

/** What is decided where these rules found something: null where they only redact. */
export function findingsDecision(
  found: readonly DataRule[],
  where: "arguments" | "results",
): PolicyDecision | null {
  const block = found.find(({ effect }) => effect === "block");
  const review = found.find(({ effect }) => effect === "review");
  const rule = block ?? review;
  if (rule === undefined) return null;
  const place = where === "arguments" ? "arguments hold" : "result holds";
  const said =
    block === undefined
      ? `A person must decide: the ${place} ${rule.name}, says the rule ${rule.rule}.`
      : `Blocked: the ${place} ${rule.name}, says the rule ${rule.rule}.`;
  return {
    decision: block === undefined ? "REVIEW" : "BLOCK",
    rule: rule.rule,
    reason: rule.reason ?? said,
  };
}
