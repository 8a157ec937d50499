import { candidatesOf } from "./candidates.js";
import { rulesFor } from "./compile.js";
import type { CountKey, PolicySet, Question } from "./policy.js";

/**
 * The counts that a decision about this call depends on, to be read in the transaction that decides. Empty for most
 * calls, at the price of a look-up.
 */
export function countsNeeded(
  set: PolicySet,
  question: Pick<Question, "agent" | "server" | "tool" | "action">,
): readonly CountKey[] {
  return candidatesOf(rulesFor(set, question.agent), question).counts;
}
