import type { AegisError } from "../../errors.js";
import { loadDriver, type SqliteDatabase, type SqliteStatement } from "./driver.js";
import { openingFault, sqliteFault } from "./faults.js";
import { migrate } from "./migrations.js";
import { patiently } from "./patience.js";
import { Presence } from "./presence.js";
import { type Connection, type Fault, keepCalls, type Statement, type Store, type Value } from "./store.js";

/**
 * On every connection. FULL: without it a commit in WAL mode is not on the disk when it returns. No busy handler: it
 * would sleep in the event loop; `patience.ts` waits instead. `secure_delete` overwrites the arguments of an approval
 * that ended, in the file with the next checkpoint.
 */
const pragmas = `
  PRAGMA busy_timeout = 0;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA secure_delete = ON;
  PRAGMA trusted_schema = OFF;
  PRAGMA journal_size_limit = 67108864;
`;

/** As the first migration made it. */
const keepRecords = `
  CREATE TRIGGER ledger_delete BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
`;

/**
 * Opens the database at `path`, in the newest schema.
 *
 * @throws AegisError `store_newer`, `store_corrupt`, `backend_unsupported`; `backend_unavailable` where another process
 *   held the lock for 2 s or the disk fails
 */
export async function openSqlite(path: string): Promise<Store> {
  const driver = await loadDriver();
  return patiently({ faultOf: sqliteFault }, () => {
    const opened: SqliteDatabase[] = [];
    const open = (): SqliteDatabase => {
      const database = driver.open(path);
      opened.push(database);
      database.exec(pragmas);
      return database;
    };
    try {
      const writer = open();
      migrate(writer, path);
      return new Sqlite(path, writer, open());
    } catch (thrown) {
      for (const database of opened) database.close();
      throw sqliteFault(thrown) === "busy" ? thrown : openingFault(path, thrown);
    }
  });
}

/**
 * SQLite answers at once, so that a transaction begins and ends in one turn of the event loop. Two connections: what is
 * read beside a transaction never is what may still be rolled back.
 */
class Sqlite implements Store {
  /** A third of what a held call may notice. */
  readonly look = 25;
  readonly writer: Connection;
  readonly reader: Connection;
  private readonly beginNow: SqliteStatement;
  private readonly commitNow: SqliteStatement;
  private readonly dataVersion: SqliteStatement;
  private readonly presence: Presence;

  constructor(
    readonly description: string,
    private readonly writing: SqliteDatabase,
    private readonly reading: SqliteDatabase,
  ) {
    this.writer = connectionTo(writing);
    this.reader = connectionTo(reading);
    // The write lock first: what is read in the transaction holds until its end.
    this.beginNow = writing.prepare("BEGIN IMMEDIATE");
    this.commitNow = writing.prepare("COMMIT");
    this.dataVersion = writing.prepare("PRAGMA data_version");
    this.presence = new Presence(description);
  }

  /** The processes are on one machine. */
  now(): number {
    return Date.now();
  }

  async begin(): Promise<void> {
    this.beginNow.run();
  }

  async commit(): Promise<void> {
    this.commitNow.run();
  }

  /** Also after a fault that SQLite has rolled back already: a transaction left open would refuse all others. */
  async rollback(): Promise<void> {
    try {
      this.writing.exec("ROLLBACK");
    } catch {
      // There was none.
    }
  }

  faultOf(thrown: unknown): Fault | null {
    return sqliteFault(thrown);
  }

  /** Others see by `data_version` that something was committed. */
  async announce(): Promise<void> {}

  onAnnounced(): void {}

  /** Differs exactly when another connection than the writer has committed (measured: 3 µs). */
  async version(): Promise<number> {
    return (this.dataVersion.get() as { data_version: number }).data_version;
  }

  async forget(last: number): Promise<void> {
    const { writing } = this;
    writing.exec("DROP TRIGGER IF EXISTS ledger_delete");
    writing.prepare(keepCalls).run(last);
    writing.prepare("DELETE FROM ledger WHERE id <= ?").run(last);
    writing.exec(keepRecords);
    writing.prepare("DELETE FROM signed_records WHERE id <= ?").run(last);
  }

  problem(): AegisError | null {
    return this.presence.problem();
  }

  async close(): Promise<void> {
    this.reading.close();
    this.writing.close();
  }
}

function connectionTo(database: SqliteDatabase): Connection {
  return { prepare: (sql) => statementOf(database.prepare(sql)) };
}

/** An `async` function of each: what SQLite throws is a rejection. */
function statementOf(prepared: SqliteStatement): Statement {
  return {
    run: async (...values: Value[]) => Number(prepared.run(...values).changes),
    get: async (...values: Value[]) => prepared.get(...values),
    all: async (...values: Value[]) => prepared.all(...values),
  };
}
