import { AegisError, reasonOf } from "../errors.js";
import { agentNameProblem } from "../identity.js";
import { visible } from "../visible.js";
import type { CommonOptions, Context } from "./context.js";
import { defaultPolicies } from "./home.js";
import { styleOf } from "./output.js";

interface Options extends CommonOptions {
  readonly agent: string;
  readonly action: string;
  readonly args?: string;
  readonly policies?: string;
}

/** `aegis policy explain`: the decision of the policies alone, and every rule that had a say. 0 whatever it is. */
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
  if (options.args !== undefined) checkArguments(options.args);
  const folder = options.policies ?? defaultPolicies(context.home);
  const [{ loadPolicies }, { explain }] = await Promise.all([
    import("../policy/load.js"),
    import("../policy/explain.js"),
  ]);
  const set = await loadPolicies(folder, { bareNames: true });
  const question = { agent: options.agent, server, tool, action: options.action };
  const { decision, files, rules } = explain(set, question);
  if (out.json) {
    out.document({
      ...question,
      decision: decision.decision,
      rule: decision.rule,
      reason: decision.reason,
      revision: set.revision,
      files,
      rules,
    });
    return 0;
  }
  const verdict = out.style(styleOf(decision.decision), decision.decision);
  out.line(`${verdict}  ${visible(options.action)} by agent ${visible(options.agent)}`);
  out.line(`  ${visible(decision.reason)}${decision.rule === null ? "" : ` (${visible(decision.rule)})`}`);
  out.line();
  if (files.length === 0) out.line(`No policy file in ${visible(folder)}: every call is reviewed.`);
  for (const file of files) {
    const stated = file.default === null ? "" : `, default ${file.default}`;
    const says = file.applies ? "applies" : "does not apply";
    out.line(`${says.padEnd(15)}${visible(file.file)} (agent ${visible(file.agent)}${stated})`);
  }
  const matching = rules.filter((rule) => rule.matched);
  if (rules.length > 0) out.line();
  for (const rule of matching) {
    const mark = rule.won ? "decided" : "also matches";
    out.line(`${out.style("bold", mark.padEnd(15))}${visible(rule.rule)}`);
  }
  const others = rules.length - matching.length;
  if (others > 0) out.line(`Of the rules considered, ${others} do not match (--json lists them).`);
  return 0;
}

function checkArguments(text: string): void {
  try {
    JSON.parse(text);
  } catch (thrown) {
    throw new AegisError("usage", `--args is not JSON: ${reasonOf(thrown)}`, { cause: thrown });
  }
}
