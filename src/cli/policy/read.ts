import { statSync } from "node:fs";
import { AegisError, reasonOf } from "../../errors.js";
import type { ParseOptions } from "../../policy/file/parse.js";
import type { PolicySet } from "../../policy/policy.js";
import { readTextFile } from "../../text-file.js";

/**
 * The policies of one file, or of a folder that has some.
 *
 * @throws AegisError policy_invalid
 */
export async function readPolicies(path: string, options: ParseOptions): Promise<PolicySet> {
  const { loadPolicies, parsePolicy, policySet } = await import("../../policy/file/load.js");
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    const text = await readTextFile(path).catch((thrown: unknown) => {
      throw new AegisError("policy_invalid", `${path}: ${reasonOf(thrown)}`, { cause: thrown });
    });
    return policySet([parsePolicy(text, path, options)]);
  }
  const set = await loadPolicies(path, options);
  if (set.files.length > 0) return set;
  throw new AegisError("policy_invalid", `${path}: no policy file (*.yaml, *.yml) is in this folder`);
}
