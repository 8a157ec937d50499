import { hash } from "node:crypto";
import type { Connection, Statement, Value } from "../store/driver.js";
import { type Entry, recordBody, recordKey } from "./record.js";

/** Rows of one statement: on small records the call into SQLite costs more than the row (measured: 12 to 7 µs a pair). */
const ROWS = 8;
const COLUMNS = 5;

/** SHA-256 of a record's body, in hex. */
export function recordHash(body: string): string {
  return hash("sha256", body);
}

/** The ledger's write side. */
export class Chain {
  readonly head: Statement;
  readonly insertOne: Statement;
  readonly insertMany: Statement;

  constructor(connection: Connection) {
    this.head = connection.prepare("SELECT id, hash FROM ledger ORDER BY id DESC LIMIT 1");
    const insert = "INSERT INTO ledger (id, agent, key, body, hash) VALUES ";
    this.insertOne = connection.prepare(`${insert}(?, ?, ?, ?, ?)`);
    this.insertMany = connection.prepare(
      insert + Array.from({ length: ROWS }, () => "(?, ?, ?, ?, ?)").join(", "),
    );
  }

  /** The appender of one transaction, which must have the write lock: the head is read inside it. */
  appender(at: string): Appender {
    return new Appender(this, at);
  }
}

export class Appender {
  private id = -1;
  private hash = "";
  private rows: Value[] = [];

  /** Id of the newest record of this transaction; negative where it has none. */
  get last(): number {
    return this.id;
  }

  constructor(
    private readonly chain: Chain,
    private readonly at: string,
  ) {}

  /** Chains the record behind the head; `flush` writes it. Returns its id. */
  append(entry: Entry): number {
    if (this.id < 0) {
      const head = this.chain.head.get() as { id: number; hash: string } | undefined;
      this.id = head?.id ?? 0;
      this.hash = head?.hash ?? "";
    }
    const id = ++this.id;
    const body = recordBody(entry, id, this.at, this.hash);
    this.hash = recordHash(body);
    this.rows.push(id, entry.agent ?? null, recordKey(entry), body, this.hash);
    return id;
  }

  flush(): void {
    const { rows } = this;
    let from = 0;
    for (; rows.length - from >= ROWS * COLUMNS; from += ROWS * COLUMNS) {
      this.chain.insertMany.run(...rows.slice(from, from + ROWS * COLUMNS));
    }
    for (; from < rows.length; from += COLUMNS) this.chain.insertOne.run(...rows.slice(from, from + COLUMNS));
    this.rows = [];
  }
}
