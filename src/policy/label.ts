import { visible } from "../visible.js";
import type { HostRule, Limit, Rule } from "./policy.js";

/** The last part of a path, under either separator: what people call the file. */
export function baseName(file: string): string {
  return file.slice(Math.max(file.lastIndexOf("/"), file.lastIndexOf("\\")) + 1);
}

interface Placed {
  readonly file: string;
  readonly line: number;
}

function label({ file, line }: Placed, what: string): string {
  return visible(`${baseName(file)}:${line} ${what}`);
}

/** How decisions and the ledger name a rule: `claude.yaml:12 allow files__*`. */
export function ruleLabel(rule: Rule): string {
  return label(rule, `${rule.list} ${rule.pattern}`);
}

/** `claude.yaml:20 limits mail__*`. */
export function limitLabel(limit: Limit): string {
  return label(limit, `limits ${limit.pattern}`);
}

/** `claude.yaml:24 servers block *.internal`. */
export function hostLabel(rule: HostRule): string {
  return label(rule, `servers ${rule.list} ${rule.host}`);
}

/** `claude.yaml:30 data secrets`. */
export function dataLabel(place: Placed, name: string): string {
  return label(place, `data ${name}`);
}
