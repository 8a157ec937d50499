import { formatDuration } from "../../duration.js";
import type { PolicyDecision, Question } from "../../policy/policy.js";
import type { ConsideredEntry, ConsideredRule, Explanation } from "../../policy/trial/explain.js";
import { noRequirement } from "../../requirement.js";
import { visible } from "../../visible.js";
import { termsText } from "../approvals/requirement-text.js";
import { wrapAt } from "../columns.js";
import { type Output, styleOf } from "../output.js";

type Style = Parameters<Output["style"]>[0];

export interface Explained extends Explanation {
  /** Rules for data that found something. */
  readonly found: ReadonlySet<string>;
  /** The arguments, as JSON text, where those rules changed them. */
  readonly forwarded: string | null;
  readonly folder: string;
  /** A sentence, where it is not known whether somebody accepted the tool. */
  readonly unknown: string | null;
}

/** No line is longer than the terminal: one that it breaks could look like another of ours. */
export function printExplanation(out: Output, { action, agent }: Question, explained: Explained): void {
  const { decision, forwarded, unknown } = explained;
  const head = `${visible(action)} by agent ${visible(agent)}`;
  const [first = "", ...rest] = wrapAt(decision.decision.length + 2, head, out.columns);
  out.line(`${out.style(styleOf(decision.decision), decision.decision)}  ${first}`);
  for (const line of rest) out.line(line);
  out.line(`  ${wrapAt(2, visible(decision.reason), out.columns).join("\n")}`);
  if (unknown !== null) out.line(`  ${wrapAt(2, visible(unknown), out.columns).join("\n")}`);
  if (decision.rule !== null) field(out, "rule", decision.rule);
  if (decision.decision === "REVIEW") printRequirement(out, decision);
  if (decision.shadow !== undefined) {
    const by = decision.shadow.rule === null ? "a default" : decision.shadow.rule;
    field(out, "shadow", `would be ${decision.shadow.decision}, by ${by}`);
  }
  if (forwarded !== null) field(out, "arguments", `${forwarded} (what rules for data leave)`);
  printConsidered(out, explained);
}

function field(out: Output, name: string, text: string): void {
  out.line(`  ${name.padEnd(10)}${wrapAt(12, visible(text), out.columns).join("\n")}`);
}

/** @param text visible already */
function listed(out: Output, mark: string, text: string, style: Style | null = null): void {
  const shown = mark.padEnd(18);
  out.line(`${style === null ? shown : out.style(style, shown)}${wrapAt(18, text, out.columns).join("\n")}`);
}

/** Under an entry. @param text visible already */
function below(out: Output, text: string, style: Style | null = null): void {
  const [first = "", ...rest] = wrapAt(20, text, out.columns);
  for (const line of [" ".repeat(20) + first, ...rest])
    out.line(style === null ? line : out.style(style, line));
}

function printRequirement(out: Output, { requirement, expires }: PolicyDecision): void {
  const { approvers, quorum, reason, channels, grant } = requirement ?? noRequirement;
  const from = approvers.map((groups) => ` from ${groups.join(" or ")}`).join(", and also");
  const people = quorum === 1 ? "one person" : `${quorum} people`;
  const more = [
    ...(reason ? ["with a reason"] : []),
    ...(expires === undefined ? [] : [`within ${formatDuration(expires)}`]),
    ...(grant === null ? [] : [`may grant ${termsText(grant)}`]),
  ];
  const by = channels.length === 0 ? "nothing: the rules exclude each other" : channels.join(", ");
  field(out, "takes", [`${people}${from}`, ...more].join(", "));
  field(out, "by", by);
}

function printConsidered(out: Output, { decision, files, rules, entries, found, folder }: Explained): void {
  out.line();
  if (files.length === 0) out.line(`No policy file in ${visible(folder)}: every call is reviewed.`);
  for (const file of files) {
    const stated = file.default === null ? "" : `, default ${file.default}`;
    const shadow = file.shadow ? ", in shadow" : "";
    const says = file.applies ? "applies" : "does not apply";
    listed(out, says, `${visible(file.file)} (agent ${visible(file.agent)}${stated}${shadow})`);
  }
  if (rules.length > 0) out.line();
  for (const rule of rules) {
    const won = rule.won && rule.rule === decision.rule;
    const mark = wordFor(rule, won);
    listed(out, mark, visible(rule.rule), won ? "bold" : rule.matched ? "yellow" : "dim");
    if (rule.condition !== null && rule.when !== null)
      for (const line of rule.when.trim().split("\n")) below(out, `when ${visible(line)}`, "dim");
    if (rule.condition?.startsWith("error")) below(out, visible(rule.condition));
  }
  if (entries.length > 0) out.line();
  for (const entry of entries) {
    const won = entry.rule === decision.rule;
    const mark = wordForEntry(entry, won, found.has(entry.rule));
    listed(out, mark, visible(entry.rule) + about(entry), won ? "bold" : "dim");
  }
}

function wordFor(rule: ConsideredRule, won: boolean): string {
  if (rule.shadow) return rule.matched ? "in shadow" : "(shadow) other";
  if (won) return rule.condition?.startsWith("error") ? "decided (error)" : "decided";
  if (rule.condition === "false") return "condition false";
  if (rule.condition?.startsWith("error")) return "condition error";
  return rule.matched ? "also matches" : "other action";
}

function wordForEntry(entry: ConsideredEntry, won: boolean, found: boolean): string {
  if (won) return "decided";
  if (!entry.matched) return "other action";
  if (entry.kind === "limits") return entry.shadow ? "in shadow" : "not counted here";
  if (entry.kind === "data") return found ? "found" : entry.shadow ? "in shadow" : "found nothing";
  return entry.shadow ? "in shadow" : "considered";
}

function about({ pattern, kind }: ConsideredEntry): string {
  return kind === "limits" || pattern === "*" ? "" : ` (for ${visible(pattern)})`;
}
