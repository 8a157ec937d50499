import { join } from "node:path";
import type { Backend } from "../client/backend.js";
import { person } from "./person.js";
import { readToken, writeToken } from "./token-file.js";

/**
 * The token that clients of the HTTP front use: the one in AEGIS_HOME/gateway.token while it is valid for this agent,
 * else a new one in its place (0600). It is written to the file and nowhere else.
 *
 * @returns the file's path
 */
export async function gatewayToken(backend: Backend, home: string, agent: string): Promise<string> {
  const file = join(home, "gateway.token");
  const known = await readToken(file);
  const principal = known === null ? null : await backend.authenticate(known);
  if (principal?.role === "agent" && principal.agent === agent) return file;
  const { token } = await backend.createToken({ name: "gateway", role: "agent", agent }, person());
  await writeToken(file, token);
  return file;
}
