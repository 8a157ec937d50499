import type { Token } from "../../client/backend.js";
import { samePerson } from "./votes.js";

/** Somebody who may decide approvals, by one credential. */
export interface Decider {
  readonly name: string;
  readonly groups: readonly string[];
}

/**
 * Everybody who may decide at this moment, as far as a backend knows: whom an OIDC issuer vouches for it learns only when
 * they come. One person with several tokens of the same groups stands here once.
 *
 * @param local name of the person of the operating system who owns AEGIS_HOME, and is in no group; null where people only
 *   come with tokens
 */
export function decidersOf(tokens: readonly Token[], local: string | null, now = Date.now()): Decider[] {
  const deciders: Decider[] = local === null ? [] : [{ name: local, groups: [] }];
  for (const { name, role, groups, expiresAt, revokedAt } of tokens) {
    if (role !== "approver" && role !== "admin") continue;
    if (revokedAt !== null || (expiresAt !== null && Date.parse(expiresAt) <= now)) continue;
    const known = deciders.some((each) => samePerson(each.name, name) && isSame(each.groups, groups));
    if (!known) deciders.push({ name, groups });
  }
  return deciders;
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((group) => other.includes(group));
}
