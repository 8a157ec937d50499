import { AegisError, reasonOf } from "../../errors.js";

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html); the low byte of an extended one. */
const BUSY = 5;
const CORRUPT = 11;
const NOTADB = 26;
const CONSTRAINT = 19;

/** The primary result code of an error of SQLite, or null where it is none. */
function codeOf(thrown: unknown): number | null {
  if (!(thrown instanceof Error) || !("errcode" in thrown) || typeof thrown.errcode !== "number") return null;
  return thrown.errcode & 0xff;
}

/** Another connection holds the lock: the same again, a little later. */
export function isBusy(thrown: unknown): boolean {
  return codeOf(thrown) === BUSY;
}

/** The store itself failed (full disk, I/O error, …), not one row that a constraint or a trigger refused. */
export function isStoreFault(thrown: unknown): boolean {
  const code = codeOf(thrown);
  return code !== null && code !== CONSTRAINT;
}

/** The error for everyone who waited on the store: fail closed, and say why. */
export function unavailable(what: string, cause: unknown): AegisError {
  return new AegisError("backend_unavailable", `${what}: ${reasonOf(cause)}.`, {
    cause,
    hint: "Look at free space and access of AEGIS_HOME; `aegis doctor` checks both.",
  });
}

/** What opening a store can throw. */
export function openingFault(path: string, thrown: unknown): AegisError {
  if (thrown instanceof AegisError) return thrown;
  const code = codeOf(thrown);
  if (code === CORRUPT || code === NOTADB) {
    return new AegisError("store_corrupt", `${path} cannot be read: ${reasonOf(thrown)}.`, {
      cause: thrown,
      hint: "Move the file away and restore it from a backup; a new one is made at the next start.",
    });
  }
  return unavailable(`${path} could not be opened`, thrown);
}
