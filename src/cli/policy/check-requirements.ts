import { decidersOf } from "../../backend/approvals/who-can-decide.js";
import type { Token } from "../../client/backend.js";
import { readHomeConfig } from "../../config-home.js";
import { AegisError } from "../../errors.js";
import type { PolicySet } from "../../policy/policy.js";
import { checkPolicies } from "../../policy/trial/check.js";
import { person } from "../person.js";

/** What is known of the people of a backend. */
export interface People {
  readonly tokens: readonly Token[];
  /** Name of the person of the operating system who may decide without a token; null where nobody may. */
  readonly local: string | null;
  /** An issuer vouches for others, and which groups they are in is not known here. */
  readonly oidc: boolean;
}

/**
 * A rule whose approvals nobody could ever give holds calls until they expire: said before anything runs.
 *
 * @throws AegisError `policy_invalid`, naming the first such rule and what would satisfy it
 */
export function requireDeciders(policies: PolicySet, { tokens, local, oidc }: People): void {
  const approvers = oidc ? {} : { approvers: decidersOf(tokens, local) };
  const error = checkPolicies(policies, approvers).find(({ level }) => level === "error");
  if (error === undefined) return;
  throw new AegisError("policy_invalid", error.message, {
    hint: `For each of them: aegis token create --role approver --name NAME${groupOf(policies, error)}`,
  });
}

/** The same, of a backend that is about to take these policies. Its own user is a person who may decide there. */
export async function requirePeople(
  policies: PolicySet,
  backend: { tokens(): Promise<readonly Token[]> },
  home: string,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  if (!policies.files.some(({ rules }) => rules.some(({ approval }) => approval !== undefined))) return;
  const oidc = (await readHomeConfig(home, env))?.settings.has("oidc") ?? false;
  requireDeciders(policies, { tokens: await backend.tokens(), local: person().name, oidc });
}

function groupOf(policies: PolicySet, error: { readonly file: string; readonly line: number }): string {
  const rules = policies.files.flatMap((file) => file.rules);
  const rule = rules.find(({ file, line }) => file === error.file && line === error.line);
  const [group] = rule?.approval?.approvers ?? [];
  return group === undefined ? "" : ` --group ${group}`;
}
