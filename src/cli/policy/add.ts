import { access } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { AegisError } from "../../errors.js";
import { agentNameProblem } from "../../identity.js";
import { compilePattern } from "../../policy/pattern.js";
import type { List } from "../../policy/policy.js";
import { readTextFile } from "../../text-file.js";
import { visible } from "../../visible.js";
import { chooseBackend } from "../backend-choice.js";
import { confirmed } from "../confirm.js";
import type { CommonOptions, Context } from "../context.js";
import { defaultPolicies } from "../home.js";
import { diffOf, show, showStanding } from "./add-text.js";
import { addRule, type NewRule, newPolicy } from "./edit.js";
import { effectOf, type Subject, subjectOf, toolOf } from "./effect.js";
import { exactCondition } from "./exact-condition.js";
import { lookAt, remedyOfInsecurity } from "./folder.js";
import { standingRule } from "./standing.js";
import { policyFileFor } from "./starter-file.js";
import { replacePolicy } from "./write.js";

export interface AddOptions extends CommonOptions {
  readonly from?: number;
  readonly agent?: string;
  readonly action?: string;
  readonly allow?: boolean;
  readonly block?: boolean;
  readonly review?: boolean;
  readonly exact?: boolean;
  readonly pattern?: string;
  readonly when?: string;
  readonly reason?: string;
  readonly policies?: string;
  readonly file?: string;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

/** `aegis policy add`: a decision becomes a rule. Shows what changes in the file, asks, and writes it. */
export async function run(context: Context, options: AddOptions): Promise<number> {
  const { out } = context;
  const list = listNamed(options);
  const subject = await subjectOf(context, options);
  const rule = ruleFor(subject, options);
  const { loadPolicies, parsePolicy, policySet } = await import("../../policy/file/load.js");
  const folder = await folderOf(context, options);
  const before = await loadPolicies(folder, { bareNames: true });
  const file = resolve(options.file ?? policyFileFor(folder, subject.agent, before));
  const text = await textOf(file);
  const changed = text === null ? newPolicy(subject.agent, list, rule) : addRule(text, list, rule);
  // What is written is what was read here: a rule that would not load is never written.
  const parsed = parsePolicy(changed, file, { bareNames: true });
  const after = policySet([...before.files.filter((each) => resolve(each.file) !== file), parsed]);
  if (!compilePattern(parsed.agent)(subject.agent)) {
    throw new AegisError(
      "usage",
      `${visible(file)} is for the agent ${visible(parsed.agent)}, not ${visible(subject.agent)}.`,
      {
        hint: "Leave --file out: the rule goes into the file of the agent.",
      },
    );
  }
  const tool = await toolOf(context, options, subject);
  const effect = effectOf(subject, before, after, { file: parsed, list, rule }, tool);
  if (options.exact === true && effect?.added !== true) {
    throw new AegisError(
      "usage",
      "--exact cannot pin these arguments: the condition does not hold for them.",
      {
        hint: "Write what matters of them with --when.",
      },
    );
  }
  const shown = { file, text, changed, list, rule, effect, subject, tool };
  const standing =
    text === null ? null : standingRule(parsePolicy(text, file, { bareNames: true }), list, rule);
  if (standing !== null) {
    showStanding(out, standing, shown);
    return 0;
  }
  if (!out.json) await show(out, shown);
  if (options.dryRun !== true) {
    const nobody = "Nobody can be asked here, and nothing was written.";
    const otherwise = "--yes writes it without asking; --dry-run only shows it.";
    if (
      options.yes !== true &&
      !(await confirmed(out, `Write this to ${visible(file)}?`, nobody, otherwise))
    ) {
      out.say("Nothing was written.");
      return 1;
    }
    await replacePolicy(file, text, changed);
  }
  if (out.json) {
    const { agent } = subject;
    const written = options.dryRun !== true;
    const tool_state = tool.facts?.state ?? null;
    out.document({ file, agent, list, ...rule, written, diff: await diffOf(shown), effect, tool_state });
  } else if (options.dryRun !== true) {
    const { problems } = await lookAt(dirname(file));
    const taken = problems.length === 0 ? " Gateways that take their policies from there do so at once." : "";
    out.line(`Written to ${visible(file)}.${taken}`);
    if (problems.length > 0)
      out.warn(
        `gateways refuse the change and keep the policy they have: ${problems.join("; ")}. ${remedyOfInsecurity}`,
      );
  }
  return 0;
}

function listNamed({ allow, block, review }: AddOptions): List {
  const named = (["allow", "block", "review"] as const).filter(
    (list) => ({ allow, block, review })[list] === true,
  );
  const [list] = named;
  if (list !== undefined && named.length === 1) return list;
  throw new AegisError("usage", "One of --allow, --block and --review says what the rule does.", {
    hint: "aegis policy add --from 7 --allow",
  });
}

function ruleFor(subject: Subject, { exact, pattern, when, reason }: AddOptions): NewRule {
  const problem = agentNameProblem(subject.agent);
  if (problem !== null) throw new AegisError("usage", `${problem}.`);
  if (subject.agent.includes("*"))
    throw new AegisError(
      "usage",
      `The agent "${visible(subject.agent)}" cannot have a policy of its own: * stands for any name.`,
    );
  if (subject.from !== null && pattern === undefined && subject.action.includes("*")) {
    throw new AegisError(
      "usage",
      `A rule for ${visible(subject.action)} would match other tools too: * stands for any name.`,
    );
  }
  const action = pattern ?? subject.action;
  if (pattern !== undefined && !compilePattern(pattern)(subject.action)) {
    throw new AegisError(
      "usage",
      `--pattern "${visible(pattern)}" does not match ${visible(subject.action)}, which it is made for.`,
    );
  }
  if (!action.includes("__") && action !== "*") {
    throw new AegisError("usage", `"${visible(action)}" names no server.`, {
      hint: `Write SERVER__TOOL, such as files__${visible(action)}.`,
    });
  }
  const conditions = [...(when === undefined ? [] : [when]), ...(exact === true ? [exactOf(subject)] : [])];
  const [first, second] = conditions;
  const condition = second === undefined ? first : `(${first}) && ${second}`;
  return {
    action,
    ...(condition === undefined ? {} : { when: condition }),
    ...(reason === undefined ? {} : { reason }),
  };
}

function exactOf({ args, from }: Subject): string {
  if (from !== null && args !== null) return exactCondition(args);
  throw new AegisError("usage", "--exact needs the arguments of an approval.", {
    hint: "Name it: --from 7. `aegis approvals --all` lists them.",
  });
}

/** A backend somewhere else has policies of its own: AEGIS_HOME/policies would be written, and nobody would read it. */
async function folderOf(context: Context, { backend, policies, file }: AddOptions): Promise<string> {
  if (policies !== undefined) return resolve(policies);
  if (file !== undefined) return dirname(resolve(file));
  const choice = await chooseBackend(backend, context.env, context.home);
  if (choice === null) return defaultPolicies(context.home);
  throw new AegisError("usage", `${choice.where} names a backend, which has policies of its own.`, {
    hint:
      "Name the folder that it is given with `aegis backend --policies`, which it takes over as soon as it changes: " +
      "--policies DIR",
  });
}

async function textOf(file: string): Promise<string | null> {
  const there = await access(file).then(
    () => true,
    () => false,
  );
  return there ? readTextFile(file) : null;
}
