import { parsePolicy, policySet } from "../../src/policy/file/load.js";
import type { PolicySet, Question } from "../../src/policy/policy.js";

/** A set of files named by their keys, for several servers unless said otherwise. */
export function setOf(files: Readonly<Record<string, string>>, bareNames = false): PolicySet {
  return policySet(Object.entries(files).map(([file, text]) => parsePolicy(text, file, { bareNames })));
}

export function ask(server: string, tool: string, agent = "claude"): Question {
  return { agent, server, tool, action: `${server}__${tool}` };
}
