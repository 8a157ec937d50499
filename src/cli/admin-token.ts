import { join } from "node:path";
import type { Backend } from "../client/backend.js";
import { person } from "./person.js";
import { readToken, writeToken } from "./token-file.js";

/** Where the first token of a backend is: whoever can read AEGIS_HOME is its admin already. */
export function adminTokenFile(home: string): string {
  return join(home, "admin.token");
}

/**
 * Sees to it that AEGIS_HOME/admin.token holds a token that is valid: the one that is there, else a new one (0600). It
 * is written to the file and nowhere else.
 *
 * @returns the file's path, and whether its token is a new one
 */
export async function adminToken(
  backend: Backend,
  home: string,
): Promise<{ readonly file: string; readonly fresh: boolean }> {
  const file = adminTokenFile(home);
  const known = await readToken(file);
  const principal = known === null ? null : await backend.authenticate(known);
  if (principal?.role === "admin") return { file, fresh: false };
  const { token } = await backend.createToken({ name: "admin", role: "admin" }, person());
  await writeToken(file, token);
  return { file, fresh: true };
}
