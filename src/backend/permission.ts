import type { Principal, Role } from "../client/backend.js";
import { AegisError } from "../errors.js";

/**
 * Refuses a principal whose role is none of `roles`. Whoever can run tools never decides, kills, revives or makes
 * tokens (invariant 5).
 *
 * @throws AegisError `not_permitted`
 */
export function requireRole(by: Principal, roles: readonly Role[], what: string): void {
  if (roles.includes(by.role) && by.agent === null) return;
  throw new AegisError("not_permitted", `${by.name} may not ${what}: its role is ${by.role}.`, {
    hint: `That takes the role ${roles.join(" or ")}.`,
  });
}

/** The token of this principal was valid when it came in, and is not any more. */
export function invalidToken(by: Principal): AegisError {
  return new AegisError("not_permitted", `The token of ${by.name} has expired or was revoked.`, {
    hint: "An admin makes a new one with `aegis token create`.",
  });
}
