import { stat } from "node:fs/promises";
import { AegisError, reasonOf } from "../errors.js";
import type { PolicyFile } from "../policy/policy.js";
import { readTextFile } from "../text-file.js";
import { visible } from "../visible.js";
import type { CommonOptions, Context } from "./context.js";

/** `aegis policy check PATH…`: reads files, and folders of files, as a gateway of many servers would. */
export async function run(
  context: Context,
  _options: CommonOptions,
  paths: readonly string[],
): Promise<number> {
  const { out } = context;
  const files: PolicyFile[] = [];
  const problems: string[] = [];
  for (const path of paths) {
    try {
      files.push(...(await read(path)));
    } catch (thrown) {
      if (!(thrown instanceof AegisError)) throw thrown;
      problems.push(...thrown.message.split("\n"));
    }
  }
  const ok = problems.length === 0;
  if (out.json) {
    out.document({
      ok,
      files: files.map((file) => ({
        file: file.file,
        agent: file.agent,
        rules: file.rules.length,
        default: file.default,
      })),
      errors: problems,
    });
    return ok ? 0 : 1;
  }
  for (const file of files) {
    const stated = file.default === null ? "no default stated" : `default ${file.default}`;
    out.line(
      `${visible(file.file)}: agent ${visible(file.agent)}, ${count(file.rules.length, "rule")}, ${stated}`,
    );
  }
  for (const problem of problems) out.say(problem);
  if (ok) out.line(`${out.style("green", "No errors")} in ${count(files.length, "file")}.`);
  return ok ? 0 : 1;
}

async function read(path: string): Promise<readonly PolicyFile[]> {
  const { loadPolicies, parsePolicy } = await import("../policy/load.js");
  // A file for `wrap` may name tools alone; whatever is written with its server works in both.
  const options = { bareNames: false };
  const found = await stat(path).catch(() => null);
  if (found === null || !found.isDirectory()) {
    const text = await readTextFile(path).catch((thrown: unknown) => {
      throw new AegisError("policy_invalid", `${path}: ${reasonOf(thrown)}`, { cause: thrown });
    });
    return [parsePolicy(text, path, options)];
  }
  const { files } = await loadPolicies(path, options);
  if (files.length > 0) return files;
  throw new AegisError("policy_invalid", `${path}: no policy file (*.yaml, *.yml) is in this folder`);
}

function count(amount: number, what: string): string {
  return `${amount} ${what}${amount === 1 ? "" : "s"}`;
}
