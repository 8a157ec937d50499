import { AegisError, reasonOf } from "../../errors.js";
import type { Fault } from "./store.js";

/** An error of PostgreSQL, or of the connection to it. */
export class PostgresFault extends Error {
  constructor(
    readonly fault: Fault,
    /** SQLSTATE, or what the system says of a connection (`ECONNREFUSED`); null where there is none. */
    readonly code: string | null,
    thrown: unknown,
  ) {
    super(reasonOf(thrown) || (code ?? "the connection failed"), { cause: thrown });
    this.name = "PostgresFault";
  }
}

/**
 * Converts what `pg` throws, once, where it is thrown. What has no SQLSTATE came from the connection: the store failed.
 * (https://www.postgresql.org/docs/current/errcodes-appendix.html)
 */
export function postgresFault(thrown: unknown): PostgresFault {
  if (thrown instanceof PostgresFault) return thrown;
  const code = codeOf(thrown);
  return new PostgresFault(faultOf(code), code, thrown);
}

function codeOf(thrown: unknown): string | null {
  if (!(thrown instanceof Error) || !("code" in thrown)) return null;
  return typeof thrown.code === "string" ? thrown.code : null;
}

function faultOf(code: string | null): Fault {
  switch (code) {
    case "40001": // serialization_failure
    case "40P01": // deadlock_detected
    case "55P03": // lock_not_available
      return "busy";
    case "25P02": // in_failed_sql_transaction: a row was refused before
      return "constraint";
    default:
      // A constraint (23), or a value that no column can hold (22, for instance NUL in a text): one row was refused.
      return code !== null && /^2[23]...$/.test(code) ? "constraint" : "store";
  }
}

const hints = new Map([
  ["28P01", "The user or the password in the URL is wrong."],
  ["28000", "The server's pg_hba.conf does not let this user in from here."],
  ["3D000", "Create the database first: `createdb NAME`."],
  ["53300", "The server has no connection left: raise max_connections, or end what is not needed."],
  ["57P03", "The server is starting or stopping: try again in a moment."],
]);

/** What opening a store can throw. `where` names the database, without its password. */
export function postgresOpeningFault(where: string, thrown: unknown): AegisError {
  if (thrown instanceof AegisError) return thrown;
  const fault = postgresFault(thrown);
  return new AegisError("backend_unavailable", `${where} could not be opened: ${fault.message}.`, {
    cause: fault,
    hint:
      hints.get(fault.code ?? "") ??
      "Look whether PostgreSQL runs there, and whether this machine reaches it; `psql URL` asks the same.",
  });
}
