import type { Principal } from "../../../client/backend.js";
import { AegisError } from "../../../errors.js";
import { requireOwnAgent } from "../own-agent.js";

/** What only this machine's users, and those whom an issuer vouches for, are called. */
const reserved = /^(os|oidc):/i;

/**
 * Who a call of this agent is recorded as.
 *
 * @throws AegisError `not_permitted` where the credential is that of another agent
 */
export function callerOf(by: Principal, agent: string, named: string | undefined): string {
  requireOwnAgent(by, agent);
  return speakerOf(by, named);
}

/**
 * A token that is bound to an agent says itself who speaks, whatever the request says. A gateway that serves many names
 * whoever it authenticated, but none who could be a person that decides here.
 *
 * @throws AegisError `not_permitted`
 */
export function speakerOf(by: Principal, named: string | undefined): string {
  if (by.agent !== null || named === undefined) return by.name;
  if (!reserved.test(named)) return named;
  throw new AegisError("not_permitted", `A gateway can not speak for ${named}.`, {
    hint: "Names that begin with os: or oidc: stand for people; leave `principal` out to use the token's own name.",
  });
}
