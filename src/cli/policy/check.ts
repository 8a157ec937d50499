import { existsSync } from "node:fs";
import { join } from "node:path";
import { decidersOf } from "../../backend/approvals/who-can-decide.js";
import { AegisError } from "../../errors.js";
import type { PolicyFile, PolicySet } from "../../policy/policy.js";
import type { KnownWorld, Remark } from "../../policy/trial/check.js";
import { visible } from "../../visible.js";
import { chooseBackend } from "../backend-choice.js";
import { type CommonOptions, type Context, withBackend } from "../context.js";
import { readPolicies } from "./read.js";

interface Options extends CommonOptions {
  readonly strict?: boolean;
}

/** What the backend knows of the world, and what could not be checked, in sentences. */
interface World {
  readonly known: KnownWorld;
  readonly unchecked: readonly string[];
}

/**
 * `aegis policy check PATH…`: reads files, and folders of files, as a gateway of many servers would; then looks for rules
 * that load and do not do what they say.
 */
export async function run(context: Context, options: Options, paths: readonly string[]): Promise<number> {
  const { out } = context;
  const sets: PolicySet[] = [];
  const errors: string[] = [];
  for (const path of paths) {
    try {
      // A file for `wrap` may name tools alone; whatever is written with its server works in both.
      sets.push(await readPolicies(path, { bareNames: false }));
    } catch (thrown) {
      if (!(thrown instanceof AegisError)) throw thrown;
      errors.push(...thrown.message.split("\n"));
    }
  }
  // Rules of files that do not load are not there: others would be called what they are not.
  const world = errors.length > 0 ? { known: {}, unchecked: [] } : await worldOf(context, options);
  const { checkPolicies } = await import("../../policy/trial/check.js");
  const remarks = errors.length > 0 ? [] : sets.flatMap((set) => checkPolicies(set, world.known));
  errors.push(...remarks.filter(({ level }) => level === "error").map(placed));
  const warnings = remarks.filter(({ level }) => level === "warning").map(placed);
  const ok = errors.length === 0 && (options.strict !== true || warnings.length === 0);
  const files = sets.flatMap((set) => set.files);
  if (out.json) {
    const { unchecked } = world;
    out.document({ ok, files: files.map(fileJson), errors, warnings, unchecked });
    return ok ? 0 : 1;
  }
  for (const file of files) out.line(fileText(file));
  for (const error of errors) out.say(error);
  for (const warning of warnings) out.warn(warning);
  for (const sentence of world.unchecked) out.line(out.style("dim", visible(sentence)));
  const found = warnings.length === 0 ? "" : `, ${count(warnings.length, "warning")}`;
  if (errors.length === 0)
    out.line(`${out.style("green", "No errors")} in ${count(files.length, "file")}${found}.`);
  return ok ? 0 : 1;
}

function placed({ file, line, message }: Remark): string {
  return `${file}:${line}:1: ${message}`;
}

/** The tools that are pinned, and who may approve. Where there is no backend yet, none is made to ask it. */
async function worldOf(context: Context, options: Options): Promise<World> {
  const nothing =
    "Not checked: whether patterns match a tool, and whether somebody can approve. There is no backend here yet; " +
    "it knows them once a gateway ran.";
  const remote = await chooseBackend(options.backend, context.env, context.home);
  if (remote === null && !existsSync(join(context.home, "aegis.db")))
    return { known: {}, unchecked: [nothing] };
  const unchecked: string[] = [];
  try {
    return await withBackend(context, options, async ({ backend, kind, by }) => {
      const tools = await backend.pinnedTools({});
      const actions = tools.flatMap(({ server, tool }) => (tool === "" ? [] : [`${server}__${tool}`]));
      if (actions.length === 0)
        unchecked.push("Not checked: whether patterns match a tool. The backend has seen none yet.");
      // Who came through an issuer is known to it alone, and only the embedded backend believes the system's user.
      const approvers = decidersOf(await backend.tokens(), kind === "embedded" ? by.name : null);
      if (approvers.length === 0)
        unchecked.push("Not checked: whether somebody can approve. Nobody has a token.");
      const known = {
        ...(actions.length === 0 ? {} : { actions }),
        ...(approvers.length === 0 ? {} : { approvers }),
      };
      return { known, unchecked };
    });
  } catch (thrown) {
    if (!(thrown instanceof AegisError) || options.backend !== undefined) throw thrown;
    return {
      known: {},
      unchecked: [`${nothing.split(".")[0]}. The backend cannot be asked: ${thrown.message}`],
    };
  }
}

function fileText({ file, agent, rules, limits, hosts, data, default: stated }: PolicyFile): string {
  const parts = [
    `agent ${visible(agent)}`,
    count(rules.length, "rule"),
    ...(limits.length === 0 ? [] : [count(limits.length, "limit")]),
    ...(hosts.length === 0 ? [] : [count(hosts.length, "rule")].map((text) => `${text} for servers`)),
    ...(data.length === 0 ? [] : [count(data.length, "rule")].map((text) => `${text} for data`)),
    stated === null ? "no default stated" : `default ${stated}`,
  ];
  return `${visible(file)}: ${parts.join(", ")}`;
}

function fileJson({ file, agent, rules, limits, hosts, data, default: stated }: PolicyFile): unknown {
  return {
    file,
    agent,
    rules: rules.length,
    default: stated,
    limits: limits.length,
    servers: hosts.length,
    data: data.length,
  };
}

function count(amount: number, what: string): string {
  return `${amount} ${what}${amount === 1 ? "" : "s"}`;
}
