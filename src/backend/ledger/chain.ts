import { hash } from "node:crypto";
import type { Connection, Statement, Value } from "../store/store.js";
import { type Entry, recordBody, recordKey } from "./record.js";

/** Rows of one statement: on small records the call into SQLite costs more than the row (measured: 12 to 7 µs a pair). */
const ROWS = 8;
const COLUMNS = 5;
/** Where the key stands among them. */
const KEY = 2;

/** SHA-256 of a record's body, in hex. */
export function recordHash(body: string): string {
  return hash("sha256", body);
}

/** The newest record, as the transaction found it; `id` 0 and an empty hash where there is none. */
export interface Head {
  readonly id: number;
  readonly hash: string;
  /** The newest checkpoint, 0 where there is none, and the record behind which it wants the next one. */
  readonly signed: number;
  readonly until: number;
  /** Records were rotated away: a call may be one of theirs. */
  readonly rotated: boolean;
}

/** What signs the chain. */
export interface Seal {
  /** SHA-256 (hex) of the public key. */
  readonly keyId: string;
  /** The body with a signature as its last member. */
  seal(body: string): string;
}

/** The ledger's write side. */
export class Chain {
  private readonly selectHead: Statement;
  readonly insertOne: Statement;
  readonly insertMany: Statement;
  readonly insertSigned: Statement;
  private readonly selectMoved: Statement;

  constructor(
    writer: Connection,
    readonly signer: Seal,
    /** Records that may follow a checkpoint before the next one. */
    readonly every: number,
  ) {
    // With the number of the policy revision in force, the newest checkpoint, and whether what is pinned of tools changed:
    // one question, asked in every transaction.
    this.selectHead = writer.prepare(
      `SELECT (SELECT id FROM ledger ORDER BY id DESC LIMIT 1) AS id,
              (SELECT hash FROM ledger ORDER BY id DESC LIMIT 1) AS hash,
              (SELECT max(number) FROM policy_revisions) AS policy,
              (SELECT max(id) FROM signed_records) AS signed,
              (SELECT until FROM signed_records ORDER BY id DESC LIMIT 1) AS until,
              (SELECT 1 FROM moved_calls LIMIT 1) AS rotated,
              (SELECT value FROM counters WHERE name = 'tools') AS tools,
              (SELECT 1 FROM running_calls LIMIT 1) AS running`,
    );
    this.selectMoved = writer.prepare(
      `SELECT call FROM moved_calls WHERE call IN (${Array.from({ length: ROWS }, () => "?").join(", ")})`,
    );
    this.insertSigned = writer.prepare("INSERT INTO signed_records (id, kind, until) VALUES (?, ?, ?)");
    const insert = "INSERT INTO ledger (id, agent, key, body, hash) VALUES ";
    this.insertOne = writer.prepare(`${insert}(?, ?, ?, ?, ?)`);
    this.insertMany = writer.prepare(
      insert + Array.from({ length: ROWS }, () => "(?, ?, ?, ?, ?)").join(", "),
    );
  }

  /** Inside a transaction: nobody appends between this and its commit. */
  async head(): Promise<{
    readonly head: Head;
    readonly policy: number;
    readonly tools: number;
    /** Some calls that run are counted. */
    readonly running: boolean;
  }> {
    const found = (await this.selectHead.get()) as {
      id: number | null;
      hash: string | null;
      policy: number | null;
      signed: number | null;
      until: number | null;
      rotated: number | null;
      tools: number;
      running: number | null;
    };
    const { id, hash: newest, signed, until, rotated } = found;
    return {
      head: {
        id: id ?? 0,
        hash: newest ?? "",
        signed: signed ?? 0,
        until: until ?? this.every,
        rotated: rotated !== null,
      },
      policy: found.policy ?? 0,
      tools: found.tools,
      running: found.running !== null,
    };
  }

  /**
   * @throws Error where one of these calls was decided in a record that was rotated away: as where its key is in the
   *   ledger still, the transaction is tried again with a look at every call
   */
  async refuseMoved(calls: readonly string[]): Promise<void> {
    for (let from = 0; from < calls.length; from += ROWS) {
      const some = calls.slice(from, from + ROWS);
      const [first = ""] = some;
      const moved = await this.selectMoved.get(
        ...some,
        ...Array.from({ length: ROWS - some.length }, () => first),
      );
      if (moved !== undefined)
        throw new Error("a call was decided before, in a record that was rotated away");
    }
  }

  /** The appender of one transaction. */
  appender(at: string, head: Head): Appender {
    return new Appender(this, at, head);
  }
}

export class Appender {
  /** The checkpoints of this transaction: what the anchors are told once it is committed. */
  readonly checkpoints: string[] = [];
  /** Records of this transaction, checkpoints not counted. */
  appended = 0;

  private id: number;
  private hash: string;
  private signed: number;
  private readonly rotated: boolean;
  /** The record behind which a checkpoint comes, whatever the caller wants to say next. */
  private due: number;
  private rows: Value[] = [];
  private signedRows: Array<[id: number, kind: string, until: number]> = [];

  constructor(
    private readonly chain: Chain,
    private readonly at: string,
    head: Head,
  ) {
    this.id = head.id;
    this.hash = head.hash;
    this.signed = head.signed;
    this.rotated = head.rotated;
    this.due = Math.min(head.until, head.signed + chain.every);
  }

  /** Id of the newest record. */
  get last(): number {
    return this.id;
  }

  /** The newest record is a signature over all others. */
  get endsSigned(): boolean {
    return this.id === this.signed;
  }

  /** Chains the record behind the head; `flush` writes it. Returns its id. */
  append(entry: Entry): number {
    const id = this.put(entry, recordBody(entry, this.id + 1, this.at, this.hash));
    this.appended++;
    if (id >= this.due) this.checkpoint();
    return id;
  }

  /**
   * Signs everything up to the head, with a record that is a part of the chain itself. Does nothing where the head is a
   * checkpoint, or nothing was ever recorded.
   *
   * @throws AegisError `ledger_key`
   */
  checkpoint(): void {
    if (this.id === this.signed || this.id === 0) return;
    const { every, signer } = this.chain;
    const body = this.sign({ kind: "checkpoint", every, key_id: signer.keyId });
    this.due = this.id + every;
    this.signedRows.push([this.id, "checkpoint", this.due]);
    this.checkpoints.push(body);
  }

  /**
   * Says that the oldest records went into a segment, and signs that too: a checkpoint follows.
   *
   * @throws AegisError `ledger_key`
   */
  rotation(said: Omit<Entry, "kind" | "key_id" | "signature">): number {
    this.sign({ ...said, kind: "rotation", key_id: this.chain.signer.keyId });
    const id = this.id;
    this.signedRows.push([id, "rotation", this.due]);
    this.appended++;
    this.signed = 0;
    this.checkpoint();
    return id;
  }

  private sign(entry: Entry): string {
    const body = this.chain.signer.seal(recordBody(entry, this.id + 1, this.at, this.hash));
    this.signed = this.put(entry, body);
    return body;
  }

  private put(entry: Entry, body: string): number {
    const id = ++this.id;
    this.hash = recordHash(body);
    this.rows.push(id, entry.agent ?? null, recordKey(entry), body, this.hash);
    return id;
  }

  /** The body of a record of this transaction that is not written yet. @param key as `recordKey` gives it */
  queued(key: string): string | undefined {
    const { rows } = this;
    for (let at = KEY; at < rows.length; at += COLUMNS) if (rows[at] === key) return String(rows[at + 1]);
    return undefined;
  }

  async flush(): Promise<void> {
    const { rows } = this;
    this.rows = [];
    if (this.rotated) await this.chain.refuseMoved(decidedIn(rows));
    let from = 0;
    for (; rows.length - from >= ROWS * COLUMNS; from += ROWS * COLUMNS) {
      await this.chain.insertMany.run(...rows.slice(from, from + ROWS * COLUMNS));
    }
    for (; from < rows.length; from += COLUMNS)
      await this.chain.insertOne.run(...rows.slice(from, from + COLUMNS));
    for (const signed of this.signedRows.splice(0)) await this.chain.insertSigned.run(...signed);
  }
}

/** The calls that these rows decide. */
function decidedIn(rows: readonly Value[]): string[] {
  return rows.filter(
    (value, index): value is string =>
      index % COLUMNS === KEY && typeof value === "string" && !value.startsWith(" "),
  );
}
