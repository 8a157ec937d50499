import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Backend } from "../client/backend.js";
import { person } from "./person.js";

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
  // Renamed into place: a client's script never reads half of it, and a link there is replaced, not followed.
  const fresh = `${file}.${randomBytes(6).toString("hex")}`;
  await writeFile(fresh, `${token}\n`, { flag: "wx", mode: 0o600 });
  await rename(fresh, file);
  return file;
}

async function readToken(file: string): Promise<string | null> {
  try {
    return (await readFile(file, "utf8")).trim() || null;
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return null;
    throw thrown;
  }
}
