import { visible } from "../visible.js";
import type { Rule } from "./policy.js";

/** The last part of a path, under either separator: what people call the file. */
export function baseName(file: string): string {
  return file.slice(Math.max(file.lastIndexOf("/"), file.lastIndexOf("\\")) + 1);
}

/** How decisions and the ledger name a rule: `claude.yaml:12 allow files__*`. */
export function ruleLabel(rule: Rule): string {
  return visible(`${baseName(rule.file)}:${rule.line} ${rule.list} ${rule.pattern}`);
}
