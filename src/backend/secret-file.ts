import { randomBytes } from "node:crypto";
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { AegisError } from "../errors.js";

/**
 * A secret that only this user may read. Null where there is no such file.
 *
 * @throws AegisError `home_insecure` where other users can reach it; Error where it cannot be read
 */
export function readSecret(file: string): string | null {
  let handle: number;
  try {
    handle = openSync(file, "r");
  } catch (thrown) {
    if (isCode(thrown, "ENOENT")) return null;
    throw thrown;
  }
  try {
    const stats = fstatSync(handle);
    if (!stats.isFile()) throw new Error("it is not a regular file");
    if (process.platform !== "win32" && (stats.mode & 0o077) !== 0) {
      const shown = (stats.mode & 0o777).toString(8);
      throw new AegisError("home_insecure", `${file} has mode ${shown}: other users can reach it.`, {
        hint: `Run: chmod 600 '${file}'`,
      });
    }
    return readFileSync(handle, "utf8");
  } finally {
    closeSync(handle);
  }
}

/**
 * A new file (0600) that is complete before it has its name. False where another process was faster: what that wrote
 * counts.
 */
export function placeSecret(file: string, text: string): boolean {
  const fresh = `${file}.${randomBytes(6).toString("hex")}`;
  const handle = openSync(fresh, "wx", 0o600);
  try {
    writeSync(handle, text);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  try {
    linkSync(fresh, file);
  } catch (thrown) {
    if (isCode(thrown, "EEXIST")) return false;
    throw thrown;
  } finally {
    unlinkSync(fresh);
  }
  syncFolder(dirname(file));
  return true;
}

/** A name is durable only once its folder is; Windows opens no folders. */
function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function isCode(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === code;
}
