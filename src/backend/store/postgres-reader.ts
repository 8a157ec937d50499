import { Pool, type PoolClient } from "pg";
import type { Logger } from "../../log.js";
import { postgresFault } from "./postgres-faults.js";
import { cut, type Sessions, sessionConfig, sessionSettings } from "./postgres-session.js";
import { type Answer, connectionOver } from "./postgres-statements.js";
import type { Connection } from "./store.js";

/** Connections of one process: a slow question beside quick ones. */
const SESSIONS = 4;

/** What is asked beside transactions. A connection on which something failed is replaced by the next question. */
export class Reader {
  readonly connection: Connection;
  private readonly pool: Pool;
  private readonly clients = new Set<PoolClient>();
  private closed: Promise<void> | null = null;

  constructor(sessions: Sessions, log: Logger) {
    const settings = sessionSettings(sessions, "reader");
    this.pool = new Pool({
      ...sessionConfig(sessions.config, "reader"),
      max: SESSIONS,
      verify: (client, done) => client.query(settings, done),
    });
    // Without a listener the end of an idle connection would end the process.
    this.pool.on("error", (thrown) => log.warn({ err: thrown }, "an idle connection to the database ended"));
    this.pool.on("connect", (client) => this.clients.add(client));
    this.pool.on("remove", (client) => this.clients.delete(client));
    this.connection = connectionOver((query) =>
      this.pool.query<Record<string, unknown>>(query).catch((thrown: unknown): Answer => {
        throw postgresFault(thrown);
      }),
    );
  }

  close(): Promise<void> {
    this.closed ??= this.end();
    return this.closed;
  }

  /** A server that hangs is not waited for, nor does its connection keep the process alive. */
  private async end(): Promise<void> {
    setTimeout(() => {
      for (const client of this.clients) cut(client);
    }, 1_000).unref();
    await this.pool.end();
  }
}
