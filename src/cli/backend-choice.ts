import { type BackendAddress, bearer, readAddress } from "../client/address.js";
import { readHomeConfig } from "../config-home.js";
import { isLoopback } from "../listen.js";
import { adminTokenFile } from "./admin-token.js";
import { readToken } from "./token-file.js";

/** A backend that is not the embedded one, and what named it. */
export interface RemoteChoice {
  readonly where: string;
  readonly address: BackendAddress;
}

/**
 * Which backend was asked for; null is the embedded one. The order is the same for CLI and gateway, so that a kill
 * reaches what a client started: the flag, AEGIS_BACKEND_URL, `backend:` in AEGIS_HOME/config.yaml, else embedded. One
 * that was asked for and cannot be used is never replaced by another: two halves of one control would not see each
 * other. No .env file is read: whoever can write into a working directory must not choose who decides (threat Z27).
 *
 * @throws AegisError usage, config_invalid; their messages hold no secret
 */
export async function chooseBackend(
  flag: string | undefined,
  env: NodeJS.ProcessEnv,
  home: string,
): Promise<RemoteChoice | null> {
  const asked = await askedFor(flag, env, home);
  if (asked === null) return null;
  const address = readAddress(asked.url, asked.where, env.AEGIS_TOKEN?.trim() || null);
  return { where: asked.where, address };
}

/**
 * The same for what people do: on the machine where `aegis backend` runs, whoever can read its admin token is its admin
 * without having to say so. It is sent to this machine only.
 */
export async function withAdminToken(choice: RemoteChoice, home: string): Promise<RemoteChoice> {
  const { address } = choice;
  if (address.authorization !== null || !isLoopback(new URL(address.origin).hostname)) return choice;
  const file = adminTokenFile(home);
  const token = await readToken(file);
  if (token === null) return choice;
  const authorization = bearer(token, `The token in ${file}`);
  const remedy = `It is from ${file}. Restart \`aegis backend\`: it puts a new one there. Or set AEGIS_TOKEN to another.`;
  return { ...choice, address: { ...address, authorization, remedy } };
}

/** A sentence where the credential would be seen on the way; null where it would not. */
export function clearTextWarning({ address }: RemoteChoice): string | null {
  if (!address.clearText) return null;
  return (
    `the token goes to ${address.shown} in clear text: whoever can listen on the way can use it. ` +
    "Use https://, or a tunnel."
  );
}

async function askedFor(
  flag: string | undefined,
  env: NodeJS.ProcessEnv,
  home: string,
): Promise<{ where: string; url: string } | null> {
  if (flag !== undefined) return { where: "--backend", url: flag };
  const variable = env.AEGIS_BACKEND_URL;
  if (variable) return { where: "AEGIS_BACKEND_URL", url: variable };
  const config = await readHomeConfig(home, env);
  if (config === null) return null;
  const url = config.settings.text("backend");
  return url === undefined ? null : { where: `backend: in ${config.file}`, url };
}
