import { formatDuration } from "../../duration.js";
import { AegisError, reasonOf } from "../../errors.js";
import { agentNameProblem } from "../../identity.js";
import type { PolicyDecision } from "../../policy/policy.js";
import type { ConsideredEntry, ConsideredRule, Explanation } from "../../policy/trial/explain.js";
import { noRequirement, type Requirement } from "../../requirement.js";
import { visible } from "../../visible.js";
import { termsText } from "../approvals/requirement-text.js";
import type { CommonOptions, Context } from "../context.js";
import { defaultPolicies } from "../home.js";
import { type Output, styleOf } from "../output.js";

interface Options extends CommonOptions {
  readonly agent: string;
  readonly action: string;
  readonly args?: string;
  readonly client?: string;
  readonly now?: string;
  readonly policies?: string;
}

/** `aegis policy explain`: the decision of the policies alone, and everything that had a say. 0 whatever it is. */
export async function run(context: Context, options: Options): Promise<number> {
  const { out } = context;
  const [, server, tool] = /^(.+?)__(.+)$/s.exec(options.action) ?? [];
  if (server === undefined || tool === undefined) {
    throw new AegisError("usage", `--action "${visible(options.action)}" is not an action.`, {
      hint: "Write SERVER__TOOL, such as files__read_text_file.",
    });
  }
  const problem = agentNameProblem(options.agent);
  if (problem !== null) throw new AegisError("usage", `--agent: ${problem}.`);
  const text = argumentsText(options.args);
  const now = options.now === undefined ? Date.now() : Date.parse(options.now);
  if (Number.isNaN(now)) {
    throw new AegisError("usage", `--now "${visible(options.now ?? "")}" is not a time.`, {
      hint: "Write --now 2026-01-05T10:00:00Z.",
    });
  }
  const folder = options.policies ?? defaultPolicies(context.home);
  const [{ loadPolicies }, { explain }, { rehearse }, { uncounted }] = await Promise.all([
    import("../../policy/file/load.js"),
    import("../../policy/trial/explain.js"),
    import("../../policy/trial/rehearse.js"),
    import("../../policy/trial/uncounted.js"),
  ]);
  const set = await loadPolicies(folder, { bareNames: true });
  const asked = {
    agent: options.agent,
    server,
    tool,
    action: options.action,
    now,
    counts: uncounted(),
    ...(options.client === undefined ? {} : { client: clientOf(options.client) }),
  };
  const { question, decision, found, text: forwarded } = rehearse(set, asked, text);
  const { files, rules, entries } = explain(set, question);
  const said = { decision, files, rules, entries };
  if (out.json) {
    const { agent, action } = question;
    out.document({
      agent,
      action,
      server,
      tool,
      ...jsonOf(decision),
      revision: set.revision,
      found: found.map((rule) => rule.rule),
      ...(forwarded === text ? {} : { forwarded }),
      files,
      rules,
      entries: entries.map((entry) => ({ ...entry, ...(entry.kind === "limits" ? { counted: false } : {}) })),
    });
    return 0;
  }
  out.line(
    `${verdict(out, decision.decision)}  ${visible(options.action)} by agent ${visible(options.agent)}`,
  );
  out.line(`  ${visible(decision.reason)}`);
  if (decision.rule !== null) out.line(`  rule      ${visible(decision.rule)}`);
  if (decision.decision === "REVIEW") printRequirement(out, decision);
  if (decision.shadow !== undefined) {
    const by = decision.shadow.rule === null ? "a default" : visible(decision.shadow.rule);
    out.line(`  shadow    would be ${decision.shadow.decision}, by ${by}`);
  }
  if (forwarded !== text) out.line(`  arguments ${visible(forwarded)} (what rules for data leave)`);
  print(out, said, new Set(found.map((rule) => rule.rule)), folder);
  return 0;
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
  out.line(visible(`  takes     ${[`${people}${from}`, ...more].join(", ")}`));
  out.line(visible(`  by        ${by}`));
}

function print(
  out: Output,
  { decision, files, rules, entries }: Explanation,
  found: ReadonlySet<string>,
  folder: string,
): void {
  out.line();
  if (files.length === 0) out.line(`No policy file in ${visible(folder)}: every call is reviewed.`);
  for (const file of files) {
    const stated = file.default === null ? "" : `, default ${file.default}`;
    const shadow = file.shadow ? ", in shadow" : "";
    const says = file.applies ? "applies" : "does not apply";
    out.line(`${says.padEnd(18)}${visible(file.file)} (agent ${visible(file.agent)}${stated}${shadow})`);
  }
  if (rules.length > 0) out.line();
  for (const rule of rules) {
    const won = rule.won && rule.rule === decision.rule;
    const mark = wordFor(rule, won);
    out.line(
      `${out.style(won ? "bold" : rule.matched ? "yellow" : "dim", mark.padEnd(18))}${visible(rule.rule)}`,
    );
    if (rule.condition !== null && rule.when !== null)
      for (const line of rule.when.trim().split("\n"))
        out.line(out.style("dim", `${" ".repeat(20)}when ${visible(line)}`));
    if (rule.condition?.startsWith("error")) out.line(`${" ".repeat(20)}${visible(rule.condition)}`);
  }
  if (entries.length > 0) out.line();
  for (const entry of entries) {
    const won = entry.rule === decision.rule;
    const mark = wordForEntry(entry, won, found.has(entry.rule));
    out.line(`${out.style(won ? "bold" : "dim", mark.padEnd(18))}${visible(entry.rule)}${about(entry)}`);
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

function verdict(out: Output, decision: string): string {
  return out.style(styleOf(decision), decision);
}

function jsonOf({ decision, rule, reason, requirement, expires, error, shadow }: PolicyDecision): object {
  return {
    decision,
    rule,
    reason,
    ...(requirement === undefined ? {} : { requirement: requirementJson(requirement) }),
    ...(expires === undefined ? {} : { expires_ms: expires }),
    ...(error === undefined ? {} : { error }),
    ...(shadow === undefined ? {} : { shadow }),
  };
}

function requirementJson({ grant, ...same }: Requirement): unknown {
  return { ...same, grant: grant && { ...grant, expires: undefined, expires_ms: grant.expires } };
}

/** `NAME` or `NAME@VERSION`. */
function clientOf(text: string): { readonly name: string; readonly version: string } {
  const at = text.lastIndexOf("@");
  return at < 1 ? { name: text, version: "" } : { name: text.slice(0, at), version: text.slice(at + 1) };
}

function argumentsText(text: string | undefined): string {
  if (text === undefined || text.trim() === "") return "";
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (thrown) {
    throw new AegisError("usage", `--args is not JSON: ${reasonOf(thrown)}`, { cause: thrown });
  }
  if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return text;
  throw new AegisError("usage", "--args is not a JSON object.", {
    hint: `Write --args '{"path":"/srv/a.txt"}'.`,
  });
}
