import { rulesFor } from "./compile.js";
import type { PolicySet, ToolFacts } from "./policy.js";
import { onChangeFor, standsFor } from "./tool-state.js";

/**
 * Which of a server's tools an agent is not even shown before somebody accepts them: their definitions speak to its
 * model. Those that a rule lets through as they are can be called, and so are shown.
 */
export function hiddenUntilAccepted(
  set: PolicySet,
  agent: string,
  server: string,
): (tool: string, state: ToolFacts["state"]) => boolean {
  if (onChangeFor(set, agent) !== "block") return () => false;
  const allowing = rulesFor(set, agent).rules.filter(
    ({ rule }) => rule.list === "allow" && rule.shadow !== true,
  );
  return (tool, state) => {
    if (state === "accepted") return false;
    const known = { state, suspicious: null, claims: {} };
    const question = { agent, server, tool, action: `${server}__${tool}`, known };
    return !allowing.some((rule) => rule.matches(question) && standsFor(rule, question));
  };
}
