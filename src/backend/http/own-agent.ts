import type { Principal } from "../../client/backend.js";
import { AegisError } from "../../errors.js";

/**
 * A token of role agent that names its agent speaks for that one only; one that names none speaks for all, as people's
 * do where their role may use the route at all.
 *
 * @throws AegisError `not_permitted`
 */
export function requireOwnAgent(principal: Principal, agent: string): void {
  if (speaksFor(principal, agent)) return;
  throw new AegisError("not_permitted", "The token is bound to another agent.", {
    hint: "Use a token made for this agent, or one of role agent that names none.",
  });
}

export function speaksFor(principal: Principal, agent: string): boolean {
  return principal.agent === null || principal.agent === agent;
}
