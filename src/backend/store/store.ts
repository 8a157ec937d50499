import type { AegisError } from "../../errors.js";

/** What a store keeps of what we give it. Integers beyond 2^53 are not used. */
export type Value = string | number | null | Uint8Array;

/** One SQL statement in what SQLite and PostgreSQL have in common; `?` stands for the next value. Prepared once. */
export interface Statement {
  /** Resolves with the number of rows it changed. */
  run(...values: Value[]): Promise<number>;
  get(...values: Value[]): Promise<unknown>;
  all(...values: Value[]): Promise<unknown[]>;
}

/** Somewhere to ask. Statements belong to the connection that prepared them. */
export interface Connection {
  prepare(sql: string): Statement;
}

/**
 * What an error of the store means. `busy`: the same again, a little later (a lock, a serialization failure).
 * `constraint`: one row was refused. `store`: the store itself failed (full disk, lost connection).
 */
export type Fault = "busy" | "constraint" | "store";

/** Of the records that a rotation removes, the keys of decisions stay; those of outcomes begin with a space. */
export const keepCalls = `
  INSERT INTO moved_calls (call) SELECT key FROM ledger WHERE id <= ? AND key IS NOT NULL AND key >= '!'
  ON CONFLICT DO NOTHING
`;

/**
 * A database that several processes share. At any moment one of them writes: `begin` waits for its turn, so that what a
 * unit reads inside of the transaction holds until it is committed, the ledger is one chain, and a record's id says when
 * it was committed.
 */
export interface Store {
  /** For people: which database, without its password. */
  readonly description: string;
  /** Inside the transaction: sees what it has written. Only between `begin` and `commit`. */
  readonly writer: Connection;
  /** Beside it: sees what is committed. */
  readonly reader: Connection;
  /** Milliseconds between two looks at what other processes have committed. */
  readonly look: number;

  /**
   * Milliseconds since the epoch, by the one clock of all processes on the store: what one of them wrote is compared by
   * another, and two machines do not agree about the time. As of the newest `begin`, and a clock of this process since.
   */
  now(): number;
  begin(): Promise<void>;
  /** Durable when it resolves. */
  commit(): Promise<void>;
  /** After every fault; never throws. */
  rollback(): Promise<void>;
  /** Null where the error is not one of the store. */
  faultOf(thrown: unknown): Fault | null;
  /** Tells the other processes, with the commit of this transaction, that there is something to look at. */
  announce(): Promise<void>;
  /** Called at once where another process has announced something; that may be missed, so somebody also looks. */
  onAnnounced(heard: () => void): void;
  /** Differs from the last answer where another process has committed since. */
  version(): Promise<number>;
  /**
   * Inside a transaction: removes the ledger's records up to this one, which the trigger refuses everybody else. Only
   * for rotation, which has them in a file.
   *
   * @throws where the database does not let this login
   */
  forget(last: number): Promise<void>;
  /** Why nothing may be written (the file was replaced, …), or null. */
  problem(): AegisError | null;
  close(): Promise<void>;
}
