import { resolve } from "node:path";
import type { Service } from "../../backend/service.js";
import { AegisError } from "../../errors.js";
import type { Logger } from "../../log.js";
import { policyTexts } from "../../policy/file/load.js";
import { defaultPolicies } from "../home.js";
import { person } from "../person.js";
import { requirePeople } from "./check-requirements.js";
import { type PolicyTexts, readTexts } from "./folder.js";
import type { PolicyWatch } from "./watch.js";

export interface PutInForce {
  /** A sentence about what is in force. */
  readonly said: string;
  /** Publishes the folder again whenever it changes, until it is closed; null where no flag named one. */
  readonly watch: ((log: Logger) => Promise<PolicyWatch>) | null;
}

/**
 * Puts the folder's policies in force. Without the flag, what is in force stays; a backend that has nothing in force yet
 * begins with AEGIS_HOME/policies, where there is something.
 *
 * @throws AegisError policy_invalid, usage
 */
export async function publishPolicies(
  service: Service,
  home: string,
  flag: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): Promise<PutInForce> {
  const known = await service.policy();
  const folder = resolve(flag ?? defaultPolicies(home));
  if (flag === undefined && known !== null)
    return { said: `policy revision ${short(known.revision)} is in force`, watch: null };
  const documents = await policyTexts(folder);
  if (documents.length === 0) {
    if (flag === undefined)
      return { said: "no policies are in force: every call is held for a person", watch: null };
    // A folder that was meant and mistyped would otherwise put nothing in the place of everything.
    throw new AegisError("usage", `--policies ${folder} holds no policy file.`, {
      hint: "Name a folder with *.yaml files; `aegis policy check` reads it.",
    });
  }
  const meetable = async (texts: PolicyTexts): Promise<void> => {
    const read = readTexts(texts, folder, { bareNames: false });
    // What is in force stays so: a backend that refused to start because a token was revoked could make no other.
    if (read.revision !== known?.revision) await requirePeople(read, service, home, env);
  };
  await meetable(documents);
  const { revision } = await service.publish(documents, person());
  const said =
    revision === known?.revision
      ? `policy revision ${short(revision)} stays in force, as in ${folder}`
      : `policy revision ${short(revision)} is in force, from ${folder}`;
  return {
    said,
    watch: flag === undefined ? null : (log) => watch(service, folder, documents, meetable, log),
  };
}

/** What others publish meanwhile stays in force until the folder itself changes. */
async function watch(
  service: Service,
  folder: string,
  published: PolicyTexts,
  meetable: (texts: PolicyTexts) => Promise<void>,
  log: Logger,
): Promise<PolicyWatch> {
  const { PolicyWatch: Watch } = await import("./watch.js");
  let last = JSON.stringify(published);
  const apply = async (texts: PolicyTexts): Promise<string | null> => {
    const now = JSON.stringify(texts);
    if (now === last) return null;
    await meetable(texts);
    const { revision } = await service.publish(texts, person());
    last = now;
    return revision;
  };
  const refused = (reason: string): Promise<void> => service.recordRefusedPolicies(reason, person());
  return new Watch({ folder, some: true, apply, refused, log });
}

function short(revision: string): string {
  return revision.slice(0, 12);
}
