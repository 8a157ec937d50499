import { type AgentRules, type CompiledRule, rulesFor } from "./compile.js";
import type { PolicyDecision, PolicySet, Question } from "./policy.js";

/** Names that look the same to every reader. Any other may pass for a name it is not (threat P14). */
const ordinaryName = /^[A-Za-z0-9_.-]{1,128}$/;

const unusualName: PolicyDecision = {
  decision: "REVIEW",
  rule: null,
  reason:
    "The tool's name is empty, longer than 128 characters, or holds characters other than A-Z a-z 0-9 _ . - and may " +
    "pass for a name it is not: no wildcard and no default allows it, only a rule with exactly this name.",
};

export interface Verdict {
  readonly decision: PolicyDecision;
  /** The rule that decided; null where a default did, or the name was too unusual for what would have allowed it. */
  readonly winner: CompiledRule | null;
}

/**
 * What the policy says of one call. All files that speak of the agent count together: BLOCK over REVIEW over ALLOW, in
 * any order; where no rule matches, the strictest default that is stated, else REVIEW. Pure, and never throws.
 */
export function decide(set: PolicySet, question: Question): PolicyDecision {
  return evaluate(set, question).decision;
}

/** The decision together with the rule behind it. */
export function evaluate(set: PolicySet, question: Question): Verdict {
  const rules = rulesFor(set, question.agent);
  const winner = strongest(rules, question);
  const decision = winner?.decision ?? rules.fallback;
  if (decision.decision === "ALLOW" && winner?.exact !== true && !ordinaryName.test(question.tool)) {
    // As if the wildcard were not there; but never looser than REVIEW.
    return { decision: rules.fallback.decision === "BLOCK" ? rules.fallback : unusualName, winner: null };
  }
  if (winner?.rule.list !== "review") return { decision, winner };
  const expires = shortestExpiry(rules, question);
  return { decision: expires === null ? decision : { ...decision, expires }, winner };
}

/** The matching rule of the lowest rank. */
function strongest(rules: AgentRules, question: Question): CompiledRule | null {
  let winner: CompiledRule | null = null;
  for (const candidate of [
    rules.byAction.get(question.action),
    rules.byTool.get(question.tool),
    rules.patterns.find((rule) => rule.matches(question)),
  ]) {
    if (candidate !== undefined && (winner === null || candidate.rank < winner.rank)) winner = candidate;
  }
  return winner;
}

/** Of every review rule that matches, not of the one that is named: the order of rules changes nothing. */
function shortestExpiry(rules: AgentRules, question: Question): number | null {
  let shortest: number | null = null;
  for (const { rule, matches } of rules.expiring) {
    if (rule.expires !== undefined && matches(question))
      shortest = Math.min(shortest ?? rule.expires, rule.expires);
  }
  return shortest;
}
