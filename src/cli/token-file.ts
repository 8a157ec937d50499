import { randomBytes } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";

/** The token in a file of AEGIS_HOME; null where there is none. */
export async function readToken(file: string): Promise<string | null> {
  try {
    return (await readFile(file, "utf8")).trim() || null;
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return null;
    throw thrown;
  }
}

/** Puts the token into the file, which only its owner can read, in place of whatever is there. */
export async function writeToken(file: string, token: string): Promise<void> {
  // Renamed into place: a client's script never reads half of it, and a link there is replaced, not followed.
  const fresh = `${file}.${randomBytes(6).toString("hex")}`;
  await writeFile(fresh, `${token}\n`, { flag: "wx", mode: 0o600 });
  await rename(fresh, file);
}
