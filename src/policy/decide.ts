import { findIn } from "../data/detectors.js";
import { type Candidates, candidatesOf, type InForce } from "./candidates.js";
import { type CompiledRule, rulesFor } from "./compile.js";
import { ConditionError } from "./condition.js";
import { findingsDecision } from "./data.js";
import { hostRefusal } from "./hosts.js";
import { limitRefusal } from "./limits.js";
import { withRequirement } from "./merge.js";
import type { PolicyDecision, PolicySet, Question } from "./policy.js";
import { isAccepted, mistakable, namesExactly, standsFor, unaccepted } from "./tool-state.js";

export interface Verdict {
  readonly decision: PolicyDecision;
  /** The rule that decided; null where something else did, or no rule may allow this tool. */
  readonly winner: CompiledRule | null;
}

/**
 * What the policy says of one call. All files that speak of the agent count together: BLOCK over REVIEW over ALLOW, in
 * any order; where no rule matches, the strictest default that is stated, else REVIEW. Pure, and never throws: what
 * cannot be evaluated is blocked.
 */
export function decide(set: PolicySet, question: Question): PolicyDecision {
  return evaluate(set, question).decision;
}

/** The decision together with the rule behind it. */
export function evaluate(set: PolicySet, question: Question): Verdict {
  try {
    const candidates = candidatesOf(rulesFor(set, question.agent), question);
    const fixed = candidates.fixed && candidates.shadow === null && isAccepted(question.known);
    if (!fixed) return besideShadow(candidates, question);
    candidates.settled ??= judge(candidates, question);
    return candidates.settled;
  } catch {
    // What was thrown may quote an argument: it is not told.
    const reason = "policy_error: the policy could not be evaluated for this call. The call is blocked.";
    return { decision: { decision: "BLOCK", rule: null, reason, error: true }, winner: null };
  }
}

/** What is in shadow is decided as if it counted, and only told. */
function besideShadow(candidates: Candidates, question: Question): Verdict {
  const verdict = judge(candidates, question);
  if (candidates.shadow === null) return verdict;
  const { decision, rule } = judge(candidates.shadow, question).decision;
  if (decision === verdict.decision.decision && rule === verdict.decision.rule) return verdict;
  return { ...verdict, decision: { ...verdict.decision, shadow: { decision, rule } } };
}

/** In the order of what is told: of two refusals, one that a repeat may pass comes last. */
function judge(rules: InForce, question: Question): Verdict {
  const matching = whoseConditionHolds(rules.rules, question);
  if (!Array.isArray(matching)) return matching;
  const verdict = ofRules(rules, matching, question);
  if (verdict.decision.decision === "BLOCK") return verdict;
  const refusal = rules.hosts.length === 0 ? null : hostRefusal(rules.hosts, question.args);
  if (refusal !== null) return { decision: refusal, winner: null };
  const found = ofData(rules, question);
  if (found?.decision === "BLOCK") return { decision: found, winner: null };
  const exceeded = rules.limits.length === 0 ? null : limitRefusal(rules.limits, question);
  if (exceeded !== null) return { decision: exceeded, winner: null };
  if (verdict.decision.decision === "ALLOW")
    return found === null ? verdict : { decision: found, winner: null };
  if (verdict.winner === null) return verdict;
  const reviews = matching.filter(({ rule }) => rule.list === "review");
  // Where an ALLOW of one of these rules would stand: a grant is one, given by a person.
  const stands = rules.onChange === "allow" || reviews.some((rule) => standsFor(rule, question));
  const grantable = found === null && stands && mistakable(question) === null;
  return { ...verdict, decision: withRequirement(verdict.decision, reviews, grantable) };
}

/** Those that hold of these arguments, by rank; a condition that cannot be evaluated denies, whatever the others say. */
function whoseConditionHolds(rules: readonly CompiledRule[], question: Question): CompiledRule[] | Verdict {
  const holding: CompiledRule[] = [];
  for (const rule of rules) {
    const holds = rule.condition === null || rule.condition.test(question);
    if (holds instanceof ConditionError) return { decision: failed(rule, holds), winner: rule };
    if (holds) holding.push(rule);
  }
  return holding;
}

function failed({ label }: CompiledRule, { why }: ConditionError): PolicyDecision {
  const reason = `policy_error: the condition of the rule ${label} could not be evaluated: ${why}. The call is blocked.`;
  return { decision: "BLOCK", rule: label, reason, error: true };
}

function ofRules(rules: InForce, matching: readonly CompiledRule[], question: Question): Verdict {
  const [first = null] = matching;
  if (first?.rule.list === "block") return { decision: first.decision, winner: first };
  if (first?.rule.list === "review") {
    const stands = matching.some((rule) => rule.rule.list === "review" && standsFor(rule, question));
    if (stands || rules.onChange !== "block") return { decision: first.decision, winner: first };
    return { decision: unaccepted("block", question), winner: null };
  }
  const verdict = ofAllows(rules, matching, question);
  const { decision } = verdict.decision;
  const state = question.known?.state ?? "accepted";
  const stands = state === "accepted" || (verdict.winner !== null && standsFor(verdict.winner, question));
  if (stands || decision === "BLOCK" || rules.onChange === "allow") return verdict;
  if (rules.onChange === "block") return { decision: unaccepted("block", question), winner: null };
  return decision === "ALLOW" ? { decision: unaccepted("review", question), winner: null } : verdict;
}

/** No rule blocks and none wants a person: a rule that allows, or the default. */
function ofAllows(rules: InForce, matching: readonly CompiledRule[], question: Question): Verdict {
  const otherwise = mistakable(question);
  const able = otherwise === null ? matching : matching.filter((rule) => namesExactly(rule, question));
  const winner = able.find((rule) => standsFor(rule, question)) ?? able[0];
  if (winner !== undefined) return { decision: winner.decision, winner };
  // As if no wildcard were there; but never looser than REVIEW.
  const keeps = otherwise === null || rules.fallback.decision === "BLOCK";
  const review = rules.fallback.decision === "REVIEW" && matching.length === 0;
  return { decision: keeps || review ? rules.fallback : otherwise, winner: null };
}

function ofData({ data }: InForce, { args, found }: Question): PolicyDecision | null {
  const deciding = data.filter(({ data: { effect } }) => effect !== "redact");
  if (deciding.length === 0) return null;
  if (found === undefined)
    return findingsDecision(
      findIn(
        args,
        deciding.map((one) => one.data),
      ),
      "arguments",
    );
  // Whoever looked did not look for what is in shadow.
  const hidden = deciding.filter(({ shadow }) => shadow).map((one) => one.data);
  const names = new Set(found.map(({ rule }) => rule));
  const seen = new Set(hidden.length === 0 ? [] : findIn(args, hidden).map(({ rule }) => rule));
  const all = deciding.filter(({ data: { rule }, shadow }) => (shadow ? seen : names).has(rule));
  return findingsDecision(
    all.map((one) => one.data),
    "arguments",
  );
}
