import { visible } from "./visible.js";

/** The agent where nothing names one. */
export const defaultAgent = "default";

/**
 * Why a text cannot be an agent's name, or null where it can. Names of the Python SDK hold spaces, dots, slashes and
 * letters of any script; what a reader of the ledger cannot see, and so not tell apart, is refused (threat K9).
 */
export function agentNameProblem(name: string): string | null {
  if (name === "") return "an agent's name is not empty";
  if (name.length > 256) return "an agent's name has at most 256 characters";
  if (visible(name) !== name)
    return `the agent's name "${visible(name)}" holds characters that cannot be seen`;
  if (name.trim() !== name) return `the agent's name "${name}" begins or ends with a space`;
  return name.normalize("NFC") === name ? null : `the agent's name "${name}" is not in Unicode normal form C`;
}
