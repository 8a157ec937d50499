import { readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { AegisError, reasonOf } from "../../errors.js";
import type { PolicyFile, PolicySet } from "../../policy/policy.js";
import type { Case, Cases } from "../../policy/trial/cases.js";
import type { CaseResult } from "../../policy/trial/run-case.js";
import { readTextFile } from "../../text-file.js";
import { visible } from "../../visible.js";
import type { CommonOptions, Context } from "../context.js";
import { type Output, styleOf } from "../output.js";
import { readPolicies } from "./read.js";

interface Ran {
  readonly file: string;
  readonly test: Case;
  readonly agent: string;
  readonly result: CaseResult | { readonly failed: string };
}

/** `aegis policy test PATH…`: asks the policies about every case of the files, or of the files in folders. */
export async function run(
  { out }: Context,
  _options: CommonOptions,
  paths: readonly string[],
): Promise<number> {
  const ran: Ran[] = [];
  for (const path of paths)
    for (const file of await filesOf(path)) {
      const results = await runFile(file);
      for (const one of results) print(out, one);
      ran.push(...results);
    }
  const failed = ran.filter((one) => !passed(one)).length;
  if (!out.json) {
    const done = `${ran.length - failed} of ${ran.length} cases passed`;
    out.line(failed === 0 ? out.style("green", `${done}.`) : out.style("red", `${done}, ${failed} failed.`));
  }
  return failed === 0 ? 0 : 1;
}

/** @throws AegisError policy_invalid */
export async function runFile(file: string): Promise<Ran[]> {
  const [{ isPolicyText, readCases }, { runCase }] = await Promise.all([
    import("../../policy/trial/cases.js"),
    import("../../policy/trial/run-case.js"),
  ]);
  const text = await textOf(file);
  if (isPolicyText(text)) {
    throw new AegisError(
      "policy_invalid",
      visible(`${file}: this is a policy, not a file of cases (tests:)`),
      { hint: "docs/policies.md shows a file of cases. `aegis policy check` reads a policy." },
    );
  }
  const read = readCases(text);
  if ("problems" in read) {
    const lines = read.problems
      .slice(0, 20)
      .map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`);
    throw new AegisError("policy_invalid", lines.map(visible).join("\n"), {
      hint: "docs/policies.md shows a file of cases.",
    });
  }
  const { cases } = read;
  const set = await policiesOf(file, cases);
  return cases.tests.map((test) => {
    const agent = test.agent ?? cases.agent;
    if (agent === undefined) {
      throw new AegisError(
        "policy_invalid",
        visible(`${file}:${test.line}:1: the case "${test.name}" names no agent`),
        {
          hint: "Write `agent: NAME` in the case, or once at the top of the file.",
        },
      );
    }
    try {
      return { file, test, agent, result: runCase(set, test, agent) };
    } catch (thrown) {
      return { file, test, agent, result: { failed: reasonOf(thrown) } };
    }
  });
}

async function policiesOf(file: string, { policies }: Cases): Promise<PolicySet> {
  const { policySet } = await import("../../policy/file/load.js");
  const files: PolicyFile[] = [];
  for (const named of [policies].flat()) {
    const set = await readPolicies(resolve(dirname(file), named), { bareNames: true });
    files.push(...set.files);
  }
  return policySet(files);
}

/** @throws AegisError policy_invalid */
function textOf(file: string): Promise<string> {
  return readTextFile(file).catch((thrown: unknown) => {
    throw new AegisError("policy_invalid", visible(`${file}: ${reasonOf(thrown)}`), { cause: thrown });
  });
}

/**
 * Of a folder, the files of cases: policies may lie beside them.
 *
 * @throws AegisError policy_invalid
 */
async function filesOf(path: string): Promise<string[]> {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return [path];
  const { isPolicyText } = await import("../../policy/trial/cases.js");
  const files: string[] = [];
  for (const name of readdirSync(path).toSorted()) {
    const file = join(path, name);
    if (/^[^.].*\.ya?ml$/is.test(name) && !isPolicyText(await textOf(file))) files.push(file);
  }
  if (files.length > 0) return files;
  throw new AegisError(
    "policy_invalid",
    visible(`${path}: no file of cases (*.yaml, *.yml) is in this folder`),
  );
}

function passed({ result }: Ran): boolean {
  return "passed" in result && result.passed;
}

function print(out: Output, ran: Ran): void {
  const { file, test, agent, result } = ran;
  const ok = passed(ran);
  const said = "passed" in result ? result.decision : null;
  const problems = "passed" in result ? result.differences : [result.failed];
  if (out.json) {
    const { name, line, call } = test;
    const decided = {
      decision: said?.decision ?? null,
      rule: said?.rule ?? null,
      reason: said?.reason ?? null,
    };
    out.document({ file, line, name, agent, action: call.action, passed: ok, ...decided, problems });
    return;
  }
  const mark = ok ? out.style("green", "pass") : out.style("red", "FAIL");
  const by =
    said === null ? "" : `${said.decision} by ${said.rule === null ? "a default" : visible(said.rule)}`;
  out.line(`${mark}  ${visible(test.name)}  ${out.style(ok ? "dim" : styleOf(said?.decision ?? ""), by)}`);
  if (ok) return;
  out.line(`      ${visible(`${file}:${test.line}`)}`);
  for (const problem of problems) out.line(`      ${visible(problem)}`);
}
