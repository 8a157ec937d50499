import type { Client, QueryConfig } from "pg";
import { type PostgresFault, postgresFault } from "./postgres-faults.js";
import { close, cut, openSession, type Sessions } from "./postgres-session.js";
import { type Answer, connectionOver } from "./postgres-statements.js";
import type { Connection } from "./store.js";

/**
 * Milliseconds a transaction waits for a new connection: with {@link deadlines.write} of the one before, within the 2 s
 * of a call. Connecting goes on meanwhile, for the next.
 */
const RECONNECT = 500;

/**
 * READ COMMITTED, whatever is the default: the lock is taken by a first statement, and all that follow must see what its
 * last holder has committed.
 */
const BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
const LOCK = "SELECT name FROM locks WHERE name = 'writer' FOR UPDATE";
/** A statement of its own: with the lock's it would be the time before the wait for it. */
const CLOCK = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";

/** The one connection that writes. A lost one is replaced by the next `begin`. */
export class Writer {
  readonly connection: Connection = connectionOver((query) => this.ask(query));
  /** Milliseconds that the database's clock is ahead of ours. */
  skew = 0;
  private client: Client | null = null;
  private connecting: Promise<Client> | null = null;
  private closed = false;

  constructor(private readonly sessions: Sessions) {}

  /** @throws PostgresFault where no connection is to be had */
  async open(): Promise<void> {
    await this.reconnect();
  }

  /** The lock with the same round trip: nothing may be read in the transaction before it. */
  async begin(): Promise<void> {
    if (this.client === null) await this.patience(this.reconnect());
    const [, , { rows }] = await Promise.all([
      this.ask({ text: BEGIN }),
      this.ask({ name: "aegis_lock", text: LOCK }),
      this.ask({ name: "aegis_clock", text: CLOCK }),
    ]);
    const [clock] = rows as Array<{ now: number }>;
    if (clock !== undefined) this.skew = clock.now - Date.now();
  }

  /**
   * `statement_timeout` does not end a commit, which may wait for a standby: our own deadline ends the connection, and
   * what became of the commit is not known.
   */
  async commit(): Promise<void> {
    const { command } = await this.ask({ text: "COMMIT" });
    // The answer where something in the transaction has failed before.
    if (command !== "COMMIT") throw this.failed(new Error("the transaction was rolled back"));
  }

  async rollback(): Promise<void> {
    try {
      if (this.client !== null) await this.ask({ text: "ROLLBACK" });
    } catch {
      this.drop();
    }
  }

  private async ask(query: QueryConfig): Promise<Answer & { readonly command: string }> {
    const { client } = this;
    if (client === null) throw this.failed(new Error("the connection to the database was lost"));
    try {
      return await client.query(query);
    } catch (thrown) {
      const fault = postgresFault(thrown);
      // Of whatever kind: a server that became a standby, a statement whose plan is of yesterday's schema, …
      if (fault.fault === "store" && this.client === client) this.drop();
      throw fault;
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    const { client } = this;
    this.client = null;
    if (client !== null) await close(client);
  }

  private failed(error: Error): PostgresFault {
    return postgresFault(error);
  }

  /** The server rolls back what was open. */
  private drop(): void {
    if (this.client !== null) cut(this.client);
    this.client = null;
  }

  private reconnect(): Promise<Client> {
    this.connecting ??= this.connect().finally(() => {
      this.connecting = null;
    });
    return this.connecting;
  }

  private async connect(): Promise<Client> {
    const client = await openSession(this.sessions, "writer", (lost) => {
      if (this.client === lost) this.client = null;
    });
    if (this.closed) cut(client);
    else this.client = client;
    return client;
  }

  private async patience(connecting: Promise<unknown>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(this.failed(new Error("the database could not be reached in time")));
      }, RECONNECT);
    });
    try {
      await Promise.race([connecting, late]);
    } finally {
      clearTimeout(timer);
      // It may still fail when nobody waits for it any more.
      connecting.catch(() => {});
    }
  }
}
