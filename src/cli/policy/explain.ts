import { AegisError, reasonOf } from "../../errors.js";
import { agentNameProblem } from "../../identity.js";
import type { PolicyDecision } from "../../policy/policy.js";
import type { Requirement } from "../../requirement.js";
import { visible } from "../../visible.js";
import type { CommonOptions, Context } from "../context.js";
import { defaultPolicies } from "../home.js";
import { printExplanation } from "./explain-text.js";
import { knownTool } from "./known-tool.js";

interface Options extends CommonOptions {
  readonly agent: string;
  readonly action: string;
  readonly args?: string;
  readonly client?: string;
  readonly now?: string;
  readonly policies?: string;
}

/**
 * `aegis policy explain`: what would be decided, as far as nothing is counted, and everything that had a say. 0 whatever it
 * is.
 */
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
  const { facts, unknown } = await knownTool(context, options, { agent: options.agent, server, tool });
  const asked = {
    agent: options.agent,
    server,
    tool,
    action: options.action,
    now,
    counts: uncounted(),
    ...(facts === null ? {} : { known: facts }),
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
      // Null: taken as accepted, and not known.
      tool_state: facts?.state ?? null,
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
  const told = { ...said, found: new Set(found.map((rule) => rule.rule)), folder, unknown };
  printExplanation(out, question, { ...told, forwarded: forwarded === text ? null : forwarded });
  return 0;
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
