import { candidatesOf } from "./candidates.js";
import { rulesFor } from "./compile.js";
import { evaluate } from "./decide.js";
import type { PolicyDecision, PolicySet, Question } from "./policy.js";
import { isAccepted, mistakable } from "./tool-state.js";

/** What an agent's own code, or an admin over the API, says of one action. */
export interface Declared {
  readonly rule: "ALLOW" | "BLOCK" | "REVIEW";
  /** Only then an ALLOW counts. */
  readonly trusted: boolean;
}

export interface DeclaredDecision extends PolicyDecision {
  /** Somebody said so: a rule, a declaration that counts, or a default that a file states. */
  readonly stated: boolean;
}

const strength = { BLOCK: 0, REVIEW: 1, ALLOW: 2 } as const;

const sentences = {
  BLOCK: "Blocked by what the agent itself declares.",
  REVIEW: "A person must decide, as the agent itself declares.",
  ALLOW: "Allowed by what was declared for the agent.",
} as const;

/**
 * What the policy says of one call together with what was declared about its action (`policy.md`, “declares”): a
 * declared BLOCK or REVIEW tightens whatever a file says; a declared ALLOW counts only where it is trusted, only where
 * no file is about the agent: one that leaves out its default says `review` (threat Z17), and only of a tool that is
 * accepted as it is and can pass for no other. Pure, and never throws.
 *
 * @param declared everything that was declared about this agent and action, in any order
 */
export function decideDeclared(
  set: PolicySet,
  declared: readonly Declared[],
  question: Question,
): DeclaredDecision {
  const { decision, winner } = evaluate(set, question);
  const rules = rulesFor(set, question.agent);
  const files = rules.files.filter((file) => file.shadow !== true);
  const stated =
    winner !== null ||
    // Whatever blocks without a rule, such as `on_change`, an operator's file said.
    decision.decision === "BLOCK" ||
    decision.rule !== null ||
    decision.error === true ||
    files.some((file) => file.default !== null) ||
    // A rule that matches a name too unusual for it is no winner, but it is there.
    candidatesOf(rules, question).rules.some(({ condition }) => condition?.test(question) ?? true);
  const mayAllow = files.length === 0 && isAccepted(question.known) && mistakable(question) === null;
  const strongest = strongestOf(declared, mayAllow);
  if (strongest === null || (stated && strength[strongest] >= strength[decision.decision])) {
    return { ...decision, stated };
  }
  return {
    decision: strongest,
    rule: `declared ${strongest.toLowerCase()} ${question.action}`,
    reason: sentences[strongest],
    ...(decision.shadow === undefined ? {} : { shadow: decision.shadow }),
    stated: true,
  };
}

/** Deny wins among declarations too; an ALLOW that is not trusted, or may not count here, says nothing. */
function strongestOf(declared: readonly Declared[], mayAllow: boolean): Declared["rule"] | null {
  let strongest: Declared["rule"] | null = null;
  for (const { rule, trusted } of declared) {
    if (rule === "ALLOW" && !(trusted && mayAllow)) continue;
    if (strongest === null || strength[rule] < strength[strongest]) strongest = rule;
  }
  return strongest;
}
