import type { Evidence, VerifyReport } from "../../client/backend.js";
import type { Anchor } from "./anchor-file.js";
import { BodyReader } from "./body.js";
import { recordHash } from "./chain.js";
import { ofResult, recordKey } from "./record.js";
import { sealProblem, signedKinds, type TrustedKeys } from "./signature.js";

/** A record as it stands in the store; in an export the columns are what the body says. */
export interface Row {
  readonly id: number;
  readonly agent: string | null;
  readonly key: string | null;
  readonly body: string;
  readonly hash: string;
}

/** What a ledger is held against. */
export interface Trust {
  /** Null where nothing was ever signed here. */
  readonly keys: TrustedKeys | null;
  /** Null where none is to be compared. */
  readonly anchors: readonly Anchor[] | null;
  /** Records that may stand before the first signature, though there is a key. */
  readonly unsigned: number;
  /** The records are those of an earlier time: an anchor may go on behind them. */
  readonly past?: true;
}

/** Where checking begins: the record before the first has this hash. */
export interface Start {
  readonly id: number;
  readonly prev: string;
  /** Records that may follow before the next signature, where a signed record says what was before; else left out. */
  readonly every?: number;
}

export interface Flaw {
  readonly id: number;
  readonly reason: string;
}

interface Seen {
  readonly id: number;
  readonly every: number;
  /** The id of the key that signed it. */
  readonly key: string;
}

/**
 * Checks records one by one, in their order: numbering, link, hash, canonical form, that the columns say what the body
 * says, signatures, and that the ledger holds what its anchors say it held. What it keeps does not grow with the ledger,
 * apart from the calls that are open.
 */
export class LedgerCheck {
  /** Records that hold. */
  records = 0;
  head: string;

  private next: number;
  private readonly first: number;
  private readonly reader = new BodyReader();
  private readonly anchors: readonly Anchor[];
  private readonly open = new Set<string>();
  private readonly signers = new Set<string>();
  private checkpoints = 0;
  private newest: Seen | null = null;
  /** Behind which record a signature is due, and after how many. */
  private limit: Pick<Seen, "id" | "every"> | null;
  private readonly behind = new Map<Anchor, number>();

  constructor(
    private readonly trust: Trust,
    start: Start,
  ) {
    this.anchors = trust.anchors ?? [];
    this.first = start.id;
    this.next = start.id;
    this.head = start.prev;
    // What was rotated away ended with a checkpoint.
    this.limit = start.every === undefined ? null : { id: start.id - 1, every: start.every };
  }

  /** The newest checkpoint that stands. */
  get signed(): { readonly id: number; readonly key: string } | null {
    return this.newest;
  }

  /** What is wrong with the next record of a store, or null. */
  take(row: Row): Flaw | null {
    const id = this.next;
    return this.done(this.columns(row, id), row.hash, row.key, Math.min(row.id, id));
  }

  /** The same of an export, which holds bodies alone. */
  takeBody(body: string): Flaw | null {
    const id = this.next;
    const hash = recordHash(body);
    return this.done(this.content(body, hash, id), hash, null, Math.min(this.reader.id ?? id, id));
  }

  /** What is wrong with the ledger as a whole, when all its records hold; or null. */
  finish(): Flaw | null {
    const { keys, unsigned } = this.trust;
    const last = this.next - 1;
    for (const anchor of this.anchors) {
      const flaw = this.tail(anchor, last);
      if (flaw !== null) return flaw;
    }
    if (this.limit !== null || keys === null || last <= unsigned) return null;
    const reason = `nothing is signed, and there is a key: the first checkpoint comes after ${unsigned} records at the latest`;
    return { id: unsigned + 1, reason };
  }

  report(broken: Flaw | null, notes: readonly string[] = []): VerifyReport {
    const { records, head, open } = this;
    const evidence = this.evidence(notes);
    return { ok: broken === null, records, head, broken, open: open.size, evidence };
  }

  private evidence(notes: readonly string[]): Evidence {
    const { anchors } = this.trust;
    return {
      first: this.first,
      checkpoints: this.checkpoints,
      signed: this.newest === null ? 0 : this.newest.id - 1,
      keys: [...this.signers],
      anchors:
        anchors?.map((anchor) => ({
          name: anchor.name,
          checkpoints: anchor.checkpoints?.size ?? 0,
          behind: this.behind.get(anchor) ?? 0,
        })) ?? null,
      notes,
    };
  }

  private done(reason: string | null, hash: string, key: string | null, id: number): Flaw | null {
    if (reason !== null) return { id, reason };
    this.records++;
    this.next++;
    this.head = hash;
    this.count(key);
    return null;
  }

  private columns(row: Row, id: number): string | null {
    if (row.id !== id) return misnumbered(id, row.id);
    if (typeof row.body !== "string") return "it is not text";
    if (recordHash(row.body) !== row.hash) return "its content does not have its hash";
    const reason = this.content(row.body, row.hash, id);
    if (reason !== null) return reason;
    if (this.reader.agent !== row.agent) return "its agent column differs from its content";
    return keyOf(this.reader) === row.key ? null : "its key column differs from its content";
  }

  private content(body: string, hash: string, id: number): string | null {
    const { reader } = this;
    const problem = reader.read(body);
    if (problem !== null) return problem;
    if (reader.id !== id) return misnumbered(id, reader.id ?? 0);
    if (reader.prev !== this.head) return "it does not continue the record before it";
    for (const anchor of this.anchors) {
      const said = anchor.checkpoints?.get(id);
      if (said !== undefined && said !== hash) return this.forked(anchor, id);
    }
    return signedKinds.has(reader.kind ?? "") ? this.sealed(body) : this.stretch(id);
  }

  /** A record that carries a signature of its own. */
  private sealed(body: string): string | null {
    const problem = sealProblem(body, this.trust.keys ?? new Map());
    if (problem !== null) return `it ${problem}`;
    const said = JSON.parse(body) as Record<string, unknown>;
    this.signers.add(String(said.key_id));
    if (said.kind === "checkpoint") {
      this.checkpoints++;
      this.newest = { id: Number(said.id), every: Number(said.every), key: String(said.key_id) };
      this.limit = this.newest;
      for (const anchor of this.anchors) {
        const behind = this.behind.get(anchor) ?? 0;
        this.behind.set(anchor, anchor.checkpoints?.has(Number(said.id)) ? 0 : behind + 1);
      }
    }
    return null;
  }

  /** Once signed, always signed: a forger who has no key can not go on behind a checkpoint for long (threat L8). */
  private stretch(id: number): string | null {
    const { limit } = this;
    if (limit === null || id - limit.id <= limit.every) return null;
    return `it should be a checkpoint: ${limit.every} records follow the one of record ${limit.id} without another`;
  }

  private count(key: string | null): void {
    const { call, kind, decision } = this.reader;
    if (call === null) return;
    // The text of a column is a copy of its own: a part of the body would keep all of it in memory.
    // What is decided about an answer ends with that: its call has the outcome.
    if (call.endsWith(ofResult)) return;
    if (kind === "decision" && decision === "ALLOW") this.open.add(key ?? Buffer.from(call).toString());
    // An outcome, or the refusal of a new lease.
    else this.open.delete(call);
  }

  private forked(anchor: Anchor, id: number): string {
    const agreed = this.newest === null ? "" : `; they agree up to record ${this.newest.id}`;
    const at = anchor.times.get(id) ?? "an unknown time";
    return `it is not the checkpoint that the anchor ${anchor.name} holds of ${at}: the ledger was rewritten, or an old copy of it was restored and continued${agreed}`;
  }

  private tail(anchor: Anchor, last: number): Flaw | null {
    const { name, checkpoints, problem } = anchor;
    if (problem !== null)
      return { id: last + 1, reason: `the anchor ${name} cannot be believed: ${problem}` };
    if (checkpoints === null) {
      if (this.checkpoints === 0) return null;
      const reason = `the anchor ${name} is missing, and the ledger has checkpoints: whether its end was cut off cannot be told. Name it with --anchor, or say --no-anchor`;
      return { id: last + 1, reason };
    }
    const { newest } = anchor;
    const ahead = newest?.id ?? 0;
    if (newest === null || ahead <= last || this.trust.past) return null;
    const problemOfLine = sealProblem(newest.body, this.trust.keys ?? new Map());
    if (problemOfLine !== null) {
      return {
        id: last + 1,
        reason: `the anchor ${name} cannot be believed: its checkpoint ${ahead} ${problemOfLine}`,
      };
    }
    const at = anchor.times.get(ahead) ?? "an unknown time";
    const reason = `${missing(last + 1, ahead)}: the anchor ${name} holds the checkpoint ${ahead} of ${at}. The end was cut off, or an old copy was restored`;
    return { id: last + 1, reason };
  }
}

function keyOf({ kind, call, release }: BodyReader): string | null {
  return recordKey({ kind, call, release: release ? true : undefined });
}

function misnumbered(expected: number, found: number): string {
  return found > expected ? missing(expected, found - 1) : `a record has the number ${found}`;
}

function missing(from: number, to: number): string {
  return from === to ? `record ${from} is missing` : `records ${from} to ${to} are missing`;
}
