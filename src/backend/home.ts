import { closeSync, lstatSync, mkdirSync, openSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import { AegisError } from "../errors.js";

/** Beside the database: what SQLite creates with the database's own mode. */
const files = ["aegis.db", "aegis.db-wal", "aegis.db-shm"];

/**
 * Makes AEGIS_HOME (0700) where it is missing. On Windows the profile's own access list does what the modes do here.
 *
 * @throws AegisError `home_insecure` where another user could read or write what is there: keys are in it
 */
export function openHome(home: string): void {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const folder = statSync(home);
  if (!folder.isDirectory()) throw insecure(`${home} is not a folder`, "Set AEGIS_HOME to a folder.");
  refuseShared(home, folder, "700");
}

/**
 * Makes the database's file (0600) in AEGIS_HOME, which is open, where it is missing.
 *
 * @returns its path
 * @throws AegisError `home_insecure` where another user could read or write it: exact arguments of held calls and the
 *   key of the digests are in it
 */
export function openHomeDatabase(home: string): string {
  const database = join(home, "aegis.db");
  // Created here and not by SQLite, whose files follow the umask.
  if (lstat(database) === null) closeSync(openSync(database, "a", 0o600));
  for (const name of files) {
    const path = join(home, name);
    const stats = lstat(path);
    if (stats === null) continue;
    if (!stats.isFile()) throw insecure(`${path} is not a regular file`, `Move ${path} away.`);
    refuseShared(path, stats, "600");
  }
  return database;
}

function refuseShared(path: string, stats: Stats, mode: string): void {
  if (process.platform === "win32") return;
  const user = process.getuid?.();
  if (user !== undefined && user !== 0 && stats.uid !== user) {
    throw insecure(`${path} belongs to another user`, "Set AEGIS_HOME to a folder of your own.");
  }
  if ((stats.mode & 0o077) !== 0) {
    const shown = (stats.mode & 0o777).toString(8);
    throw insecure(`${path} has mode ${shown}: other users can reach it`, `Run: chmod ${mode} '${path}'`);
  }
}

function insecure(what: string, hint: string): AegisError {
  return new AegisError("home_insecure", `${what}, and Aegis keeps secrets there.`, { hint });
}

/** Null where there is nothing. */
function lstat(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}
