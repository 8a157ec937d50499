import { AegisError } from "../errors.js";
import { longestName, nameProblem } from "../names.js";
import { visible } from "../visible.js";

export { isCallId, nameProblem } from "../names.js";

/** @throws AegisError `usage` where `name` cannot be a name; `what` says whose it is, such as “agent”. */
export function checkName(what: string, name: string): void {
  const problem = nameProblem(name);
  if (problem === null) return;
  throw new AegisError("usage", `The ${what}'s name "${visible(name).slice(0, longestName)}" ${problem}.`, {
    hint: `Give the ${what} a name of 1 to ${longestName} visible characters.`,
  });
}
