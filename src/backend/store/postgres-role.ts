import type { Client } from "pg";
import { applicationRole, schema } from "./postgres-session.js";

/**
 * The role that sessions act as: one that no owner's mistake, and no statement that somebody slipped in, can change the
 * ledger with. It belongs to the whole cluster: another database of it, or its administrator, may have made it already,
 * and perhaps we may not. Then the program runs as its login, and the trigger alone keeps the ledger.
 */
const makeRole = `
  DO $$
  BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${applicationRole}') THEN
      CREATE ROLE ${applicationRole} NOLOGIN;
    END IF;
  EXCEPTION
    WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
  END
  $$;
  DO $$
  BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '${applicationRole}' AND NOT pg_has_role(oid, 'MEMBER')) THEN
      EXECUTE format('GRANT ${applicationRole} TO %I', current_user);
    END IF;
  EXCEPTION
    WHEN insufficient_privilege THEN NULL;
  END
  $$;
`;

const grants = `
  GRANT USAGE ON SCHEMA ${schema} TO ${applicationRole};
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${applicationRole};
  REVOKE UPDATE, DELETE ON ledger, signed_records, moved_calls FROM ${applicationRole};
  REVOKE INSERT, UPDATE, DELETE ON schema_version FROM ${applicationRole};
`;

/** Makes the role where that is possible, and gives it what the program needs. Inside the migration's transaction. */
export async function grantRole(client: Client): Promise<void> {
  await client.query(makeRole);
  const { rowCount } = await client.query("SELECT FROM pg_roles WHERE rolname = $1", [applicationRole]);
  if (rowCount === 1) await client.query(grants);
}
