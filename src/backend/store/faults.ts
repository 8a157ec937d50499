import { AegisError, reasonOf } from "../../errors.js";
import type { Fault } from "./store.js";

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

/** What an error of SQLite means: a lock that another connection holds, a refused row, or a store that failed. */
export function sqliteFault(thrown: unknown): Fault | null {
  switch (codeOf(thrown)) {
    case null:
      return null;
    case BUSY:
      return "busy";
    case CONSTRAINT:
      return "constraint";
    default:
      return "store";
  }
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
