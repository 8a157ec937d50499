import { ruleLabel } from "../../policy/label.js";
import type { List, PolicyFile } from "../../policy/policy.js";
import type { NewRule } from "./edit.js";

/**
 * The rule of the file that says the same already, as decisions name it; null where there is none. Where no reason was
 * given, any will do.
 */
export function standingRule(file: PolicyFile, list: List, rule: NewRule): string | null {
  const standing = file.rules.find(
    (each) =>
      each.list === list &&
      each.pattern === rule.action &&
      each.when === rule.when &&
      (rule.reason === undefined || each.reason === rule.reason) &&
      each.approval === undefined &&
      // One that only this rule keeps in shadow decides nothing.
      each.shadow === file.shadow,
  );
  return standing === undefined ? null : ruleLabel(standing);
}
