import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { AegisError } from "../errors.js";
import { placeSecret } from "./secret-file.js";

/** Says which database this home belongs to, where it is not the SQLite file in it. */
const marker = "database";

/**
 * A home has one store: its keys, its anchor and its admin token are of that one. A command that opened another would
 * act where nobody looks, and sign what the anchor then holds against the ledger it is for.
 *
 * @param database as the store describes itself; null for the SQLite file
 * @throws AegisError `backend_unsupported`
 */
export function claimHome(home: string, database: string | null): void {
  const file = join(home, marker);
  const claimed = read(file);
  if (database === null) {
    if (claimed === null) return;
    throw new AegisError("backend_unsupported", `${home} belongs to the backend on ${claimed}.`, {
      hint:
        "Set AEGIS_BACKEND_URL to that backend; `aegis backend` and `aegis audit` take --database. " +
        "For a backend of its own set AEGIS_HOME to another folder.",
    });
  }
  if (claimed === database) return;
  if (claimed !== null) {
    throw new AegisError(
      "backend_unsupported",
      `${home} belongs to the backend on ${claimed}, not on ${database}.`,
      {
        hint: `Set AEGIS_HOME to another folder; where it is the same database by another name, remove ${file}.`,
      },
    );
  }
  if ((statSync(join(home, "aegis.db"), { throwIfNoEntry: false })?.size ?? 0) > 0) {
    throw new AegisError("backend_unsupported", `${home} holds a ledger of its own, in aegis.db.`, {
      hint: "Set AEGIS_HOME to another folder for the backend on PostgreSQL.",
    });
  }
  if (!placeSecret(file, `${database}\n`)) claimHome(home, database);
}

function read(file: string): string | null {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return null;
    throw thrown;
  }
}
