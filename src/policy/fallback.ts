import { visible } from "../visible.js";
import { baseName } from "./label.js";
import { type List, lists, type PolicyDecision, type PolicyFile } from "./policy.js";

const decisionOf = { block: "BLOCK", review: "REVIEW", allow: "ALLOW" } as const;

/** The strictest default that is stated, else review. */
export function fallbackOf(files: readonly PolicyFile[]): PolicyDecision {
  const strictest = strictestOf(files.map((file) => file.default));
  const names = files.map((file) => visible(baseName(file.file))).toSorted();
  const shown =
    names.length <= 3 ? names.join(", ") : `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
  const reason =
    names.length === 0
      ? "No policy speaks of this agent: the default is review."
      : `No rule of ${shown} matches: the default is ${strictest}.`;
  return { decision: decisionOf[strictest], rule: null, reason };
}

/** The strictest `on_change` that is stated, else review. */
export function onChangeOf(files: readonly PolicyFile[]): List {
  return strictestOf(files.map((file) => file.onChange));
}

function strictestOf(stated: ReadonlyArray<List | null>): List {
  return lists.find((list) => stated.includes(list)) ?? "review";
}
