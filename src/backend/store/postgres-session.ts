import { Client, type ClientConfig } from "pg";
import { postgresFault } from "./postgres-faults.js";
import { asSqliteGives } from "./postgres-statements.js";

/** The role the program runs as. It may add to the ledger, and never change it. */
export const applicationRole = "aegis_app";
/** Where all tables are: the database may hold others. */
export const schema = "aegis";

/** Milliseconds. */
export const deadlines = {
  connect: 5_000,
  /** A statement of a transaction, its lock and its commit included: a call is refused within 2 s. */
  write: 1_200,
  /** Before that the server gives up by itself, so that the lock is free and the connection stays. */
  statement: 1_000,
  /** Beside it: also what a page of a long ledger may take. */
  read: 5_000,
  /** One try to get the lock. */
  lock: 400,
  /** A process that is suspended in its transaction does not hold up all others for longer. */
  idle: 5_000,
} as const;

export type Purpose = "writer" | "reader" | "listener";

/** What every session of a store has in common. */
export interface Sessions {
  readonly config: ClientConfig;
  /** Whether the login may act as {@link applicationRole}. */
  readonly role: boolean;
}

/** What `pg` needs to know to connect for this purpose. */
export function sessionConfig(config: ClientConfig, purpose: Purpose): ClientConfig {
  return {
    application_name: `aegis ${purpose}`,
    ...config,
    types: asSqliteGives,
    connectionTimeoutMillis: deadlines.connect,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    // Statements are sent without waiting for the answers before them. One that is not answered in time ends the
    // connection, and with it all that wait behind it.
    pipeline: true,
    query_timeout: purpose === "writer" ? deadlines.write : deadlines.read,
  };
}

/**
 * What a session is told first. `pg_temp` last: else a temporary table could stand before ours. `synchronous_commit`:
 * without it a commit is not on the disk when it returns, whatever the server, the database or the user are set to.
 */
export function sessionSettings({ role }: Sessions, purpose: Purpose): string {
  const timeout = purpose === "writer" ? deadlines.statement : deadlines.read;
  return `
    SET search_path = ${schema}, pg_temp;
    SET synchronous_commit = on;
    SET statement_timeout = ${timeout};
    SET lock_timeout = ${deadlines.lock};
    SET idle_in_transaction_session_timeout = ${deadlines.idle};
    SET default_transaction_read_only = ${purpose === "writer" ? "off" : "on"};
    ${role ? `SET ROLE ${applicationRole};` : ""}
  `;
}

/**
 * A session ready for its purpose; `lost` is called where its connection has ended.
 *
 * @throws PostgresFault
 */
export async function openSession(
  sessions: Sessions,
  purpose: Purpose,
  lost: (client: Client) => void,
): Promise<Client> {
  const client = new Client(sessionConfig(sessions.config, purpose));
  // Without a listener an error would end the process. What it meant for a query, the query says.
  client.on("error", () => lost(client));
  client.on("end", () => lost(client));
  try {
    await client.connect();
    await client.query(sessionSettings(sessions, purpose));
    return client;
  } catch (thrown) {
    cut(client);
    throw postgresFault(thrown);
  }
}

/** An orderly end, if the server has one second for it. */
export async function close(client: Client): Promise<void> {
  const timer = setTimeout(() => cut(client), 1_000);
  await client.end();
  clearTimeout(timer);
}

/** Ends a connection at once, whatever it waits for. */
export function cut(client: Client): void {
  client.connection.stream.destroy();
}
