import { randomUUID } from "node:crypto";
import { AegisError } from "../../errors.js";
import type { Logger } from "../../log.js";
import { PostgresFault, postgresOpeningFault } from "./postgres-faults.js";
import { channel, Listener } from "./postgres-listener.js";
import { prepareSchema } from "./postgres-migrate.js";
import { Reader } from "./postgres-reader.js";
import type { Sessions } from "./postgres-session.js";
import { readPostgresUrl } from "./postgres-url.js";
import { Writer } from "./postgres-writer.js";
import { type Connection, type Fault, keepCalls, type Statement, type Store } from "./store.js";

/** Milliseconds between two looks: what is announced is heard at once; what is missed, and elsewhere all, is seen by it. */
const LOOK = 100;
const LOOK_ONLY = 25;

/**
 * Opens the database of a URL such as `postgres://aegis@db.example.com/aegis`, in the newest schema. The URL of a
 * database that has no LISTEN says `aegis_listen=off`.
 *
 * @throws AegisError `usage` where the URL cannot be read, `store_newer`, `backend_unavailable`; none names the password
 */
export async function openPostgres(url: string, { log }: { readonly log: Logger }): Promise<Store> {
  const address = readPostgresUrl(url);
  const { config, description } = address;
  try {
    const sessions = { config, ...(await prepareSchema(address, log)) };
    const store = new Postgres(description, address.listen, sessions, log);
    await store.open();
    return store;
  } catch (thrown) {
    throw postgresOpeningFault(description, thrown);
  }
}

/** Many processes on many machines: whoever has the lock of the one row of `locks` writes. */
class Postgres implements Store {
  readonly look: number;
  readonly writer: Connection;
  readonly reader: Connection;
  private readonly writing: Writer;
  private readonly reading: Reader;
  private readonly listener: Listener | null;
  private readonly listeners: Array<() => void> = [];
  private readonly notify: Statement;
  private readonly newest: Statement;
  /** Tells our own announcements from those of others. */
  private readonly own = randomUUID();

  constructor(
    readonly description: string,
    listen: boolean,
    sessions: Sessions,
    log: Logger,
  ) {
    this.look = listen ? LOOK : LOOK_ONLY;
    this.writing = new Writer(sessions);
    this.reading = new Reader(sessions, log);
    this.writer = this.writing.connection;
    this.reader = this.reading.connection;
    this.listener = listen ? new Listener(sessions, this.own, () => this.heard(), log) : null;
    this.notify = this.writer.prepare(`SELECT pg_notify('${channel}', ?)`);
    this.newest = this.reader.prepare("SELECT value FROM counters WHERE name = 'events'");
  }

  async open(): Promise<void> {
    await this.writing.open();
    await this.listener?.listen();
  }

  now(): number {
    return Date.now() + this.writing.skew;
  }

  begin(): Promise<void> {
    return this.writing.begin();
  }

  commit(): Promise<void> {
    return this.writing.commit();
  }

  rollback(): Promise<void> {
    return this.writing.rollback();
  }

  faultOf(thrown: unknown): Fault | null {
    return thrown instanceof PostgresFault ? thrown.fault : null;
  }

  async announce(): Promise<void> {
    if (this.listener !== null) await this.notify.get(this.own);
  }

  onAnnounced(heard: () => void): void {
    this.listeners.push(heard);
  }

  /** The number of the newest event: what others want to hear of is one. */
  async version(): Promise<number> {
    return ((await this.newest.get()) as { value: number }).value;
  }

  /** As whoever logged in, who must own the table: the application role can not. */
  async forget(last: number): Promise<void> {
    const { writer } = this;
    try {
      await writer.prepare("SET LOCAL ROLE NONE").run();
      await writer.prepare("ALTER TABLE ledger DISABLE TRIGGER ledger_change").run();
      await writer.prepare(keepCalls).run(last);
      await writer.prepare("DELETE FROM ledger WHERE id <= ?").run(last);
      await writer.prepare("ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_change").run();
      await writer.prepare("ALTER TABLE signed_records DISABLE TRIGGER signed_records_change").run();
      await writer.prepare("DELETE FROM signed_records WHERE id <= ?").run(last);
      await writer.prepare("ALTER TABLE signed_records ENABLE ALWAYS TRIGGER signed_records_change").run();
    } catch (thrown) {
      if (!(thrown instanceof PostgresFault) || thrown.code !== "42501") throw thrown;
      throw new AegisError("not_permitted", `This login may not remove records from ${this.description}.`, {
        cause: thrown,
        hint: "Give the URL of the login that owns the tables: --database postgres://OWNER@…",
      });
    }
  }

  problem(): AegisError | null {
    return null;
  }

  async close(): Promise<void> {
    this.listener?.close();
    await Promise.all([this.writing.close(), this.reading.close()]);
  }

  private heard(): void {
    for (const listener of this.listeners) listener();
  }
}
