import { resolve } from "node:path";
import type { Service } from "../backend/service.js";
import { AegisError } from "../errors.js";
import { policyTexts } from "../policy/load.js";
import { defaultPolicies } from "./home.js";
import { person } from "./person.js";

/**
 * Puts the folder's policies in force. Without the flag, what is in force stays; a backend that has nothing in force yet
 * begins with AEGIS_HOME/policies, where there is something.
 *
 * @returns a sentence about what is in force
 * @throws AegisError policy_invalid, usage
 */
export async function publishPolicies(
  service: Service,
  home: string,
  flag: string | undefined,
): Promise<string> {
  const known = await service.policy();
  const folder = resolve(flag ?? defaultPolicies(home));
  if (flag === undefined && known !== null) return `policy revision ${short(known.revision)} is in force`;
  const documents = await policyTexts(folder);
  if (documents.length === 0) {
    if (flag === undefined) return "no policies are in force: every call is held for a person";
    // A folder that was meant and mistyped would otherwise put nothing in the place of everything.
    throw new AegisError("usage", `--policies ${folder} holds no policy file.`, {
      hint: "Name a folder with *.yaml files; `aegis policy check` reads it.",
    });
  }
  const { revision } = await service.publish(documents, person());
  return revision === known?.revision
    ? `policy revision ${short(revision)} stays in force, as in ${folder}`
    : `policy revision ${short(revision)} is in force, from ${folder}`;
}

function short(revision: string): string {
  return revision.slice(0, 12);
}
