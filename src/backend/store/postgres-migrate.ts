import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "pg";
import { AegisError } from "../../errors.js";
import type { Logger } from "../../log.js";
import { postgresFault } from "./postgres-faults.js";
import { postgresMigrations, postgresVersion } from "./postgres-migrations.js";
import { grantRole } from "./postgres-role.js";
import { applicationRole, close, schema, sessionConfig } from "./postgres-session.js";
import { asSqliteGives } from "./postgres-statements.js";
import type { PostgresAddress } from "./postgres-url.js";

/** Milliseconds a start waits for another one that migrates. */
const PATIENCE = 30_000;
/** Each waits for whoever was first; the next finds what that one has made. */
const TRIES = 20;

/**
 * What concurrent starts do to each other: `IF NOT EXISTS` looks first and makes afterwards, so that the second fails on
 * the first one's rows in the catalogue (23505, 42P06 schema, 42P07 table, 42710 role or trigger, 42723 function,
 * XX000 “tuple concurrently updated”). Then it looks again.
 */
const races = new Set(["23505", "42P06", "42P07", "42710", "42723", "40001", "40P01", "XX000"]);

interface Situation {
  readonly login: string;
  readonly encoding: string;
  readonly fsync: string;
  readonly present: boolean;
  /** May do with the tables as it likes. */
  readonly owner: boolean;
  /** May act as the application role, which has its rights. */
  readonly member: boolean;
}

/**
 * Brings the schema up to this program's version, whoever of several processes comes first, and says whether sessions
 * may act as the application role.
 *
 * @throws AegisError `store_newer`; `backend_unavailable` where the schema is missing or older and this login may not
 *   change that, or has no rights on it; PostgresFault
 */
export async function prepareSchema(
  { config, description }: PostgresAddress,
  log: Logger,
): Promise<{ readonly role: boolean }> {
  // One statement after the other, and each with the time that it needs.
  const client = new Client({
    ...sessionConfig(config, "writer"),
    types: asSqliteGives,
    pipeline: false,
    query_timeout: 2 * PATIENCE,
  });
  client.on("error", () => {});
  try {
    await client.connect();
    return await prepare(client, description, log);
  } finally {
    await close(client);
  }
}

async function prepare(client: Client, where: string, log: Logger): Promise<{ readonly role: boolean }> {
  let situation = await look(client);
  if (situation.encoding !== "UTF8") {
    throw new AegisError(
      "backend_unavailable",
      `${where} has the encoding ${situation.encoding}, not UTF8.`,
      {
        hint: "Create a database for aegis: `createdb --encoding UTF8 --template template0 NAME`.",
      },
    );
  }
  if (situation.fsync !== "on")
    log.warn(`${where} runs with fsync = off: what is recorded does not survive a crash`);
  const version = situation.present ? await versionOf(client, where, situation) : 0;
  if (version > postgresVersion) {
    throw new AegisError(
      "store_newer",
      `${where} is of version ${version}; this program knows versions up to ${postgresVersion}.`,
      { hint: "Update aegis, or use another database." },
    );
  }
  if (version < postgresVersion || (situation.owner && !situation.member)) {
    await migrate(client, where, situation);
    situation = await look(client);
  }
  if (!situation.member) {
    log.warn(
      `${situation.login} cannot act as ${applicationRole} on ${where}: only a trigger keeps the ledger from being changed`,
    );
  }
  return { role: situation.member };
}

/** Of the catalogues alone, which everybody may read. */
async function look(client: Client): Promise<Situation> {
  const { rows } = await client.query<Record<string, unknown>>(
    `SELECT current_user AS login, current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
       t.oid IS NOT NULL AS present,
       coalesce(pg_has_role(t.relowner, 'USAGE'), false) AS owner,
       coalesce(pg_has_role(r.oid, 'MEMBER') AND has_schema_privilege(r.oid, t.relnamespace, 'USAGE'), false) AS member
     FROM (SELECT 1) AS one
     LEFT JOIN pg_class AS t ON t.relname = 'schema_version'
       AND t.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
     LEFT JOIN pg_roles AS r ON r.rolname = $2`,
    [schema, applicationRole],
  );
  const row = rows[0] ?? {};
  return {
    login: String(row.login),
    encoding: String(row.encoding),
    fsync: String(row.fsync),
    present: row.present === 1,
    owner: row.owner === 1,
    member: row.member === 1,
  };
}

async function versionOf(client: Client, where: string, { login, member }: Situation): Promise<number> {
  try {
    if (member) await client.query(`SET ROLE ${applicationRole}`);
    const { rows } = await client.query<{ version: number }>(`SELECT version FROM ${schema}.schema_version`);
    await client.query("RESET ROLE");
    return rows[0]?.version ?? 0;
  } catch (thrown) {
    if (postgresFault(thrown).code !== "42501") throw thrown;
    throw new AegisError(
      "backend_unavailable",
      `${login} has no rights on the schema ${schema} of ${where}.`,
      {
        cause: thrown,
        hint: `Let its owner say: GRANT ${applicationRole} TO "${login}".`,
      },
    );
  }
}

async function migrate(client: Client, where: string, { login, present }: Situation): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await migrateOnce(client);
      return;
    } catch (thrown) {
      // It fails where the connection was lost, which `thrown` says.
      await client.query("ROLLBACK").catch(() => {});
      const { code } = postgresFault(thrown);
      if (code === "42501") {
        const what = present ? "is older than this program" : `has no schema ${schema}`;
        throw new AegisError("backend_unavailable", `${where} ${what}, and ${login} may not change that.`, {
          cause: thrown,
          hint: "Start `aegis backend` once with the URL of the database's owner; this login can be used afterwards.",
        });
      }
      if (code === null || !races.has(code) || tries === TRIES) throw thrown;
    }
    await sleep(5 + Math.random() * 20);
  }
}

/** One transaction: all of it, or nothing. The row of the version is the lock. */
async function migrateOnce(client: Client): Promise<void> {
  await client.query(`BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = ${PATIENCE}`);
  // Also where it is there already, IF NOT EXISTS asks for the right to make one.
  const { rowCount } = await client.query("SELECT FROM pg_namespace WHERE nspname = $1", [schema]);
  if (rowCount === 0) await client.query(`CREATE SCHEMA ${schema}`);
  await client.query(`
    SET LOCAL search_path = ${schema}, pg_temp;
    CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY CHECK (id = 1), version BIGINT NOT NULL);
    INSERT INTO schema_version (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING;
  `);
  const { rows } = await client.query<{ version: number }>("SELECT version FROM schema_version FOR UPDATE");
  for (const migration of postgresMigrations.slice(rows[0]?.version ?? 0)) await client.query(migration);
  await client.query("UPDATE schema_version SET version = $1 WHERE version < $1", [postgresVersion]);
  await grantRole(client);
  await client.query("COMMIT");
}
