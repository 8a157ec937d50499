import type { Principal } from "../client/backend.js";
import { parsePolicy, policySet } from "../policy/file/load.js";
import type { PolicySet } from "../policy/policy.js";
import type { Batch } from "./batch.js";
import type { PolicyDocument, PolicyRevision } from "./service.js";
import type { Statement, Store } from "./store/store.js";
import { isoTime } from "./time.js";

/** Where decisions take their policy from. */
export interface PolicySource {
  /** What was in force when somebody last looked: good for work ahead of a transaction, which checks it. */
  readonly known: PolicySet;
  /** What is in force in this transaction. */
  inForce(batch: Batch): PolicySet | Promise<PolicySet>;
  /** What is in force beside a transaction, where the newest revision has this number. */
  committed(number: number): PolicySet | Promise<PolicySet>;
}

/** The policies of one gateway: what it reads from its folder. Another set takes their place whole, between two calls. */
export class OwnPolicies implements PolicySource {
  private current: PolicySet;

  constructor(policies: PolicySet) {
    this.current = policies;
  }

  get known(): PolicySet {
    return this.current;
  }

  /** What this very transaction adopts holds for the units behind it, and for nobody if it is rolled back. */
  inForce(batch: Batch): PolicySet {
    return batch.published ?? this.current;
  }

  committed(): PolicySet {
    return this.current;
  }

  /** In force for everything behind it, once it is committed. */
  async adopt(batch: Batch, policies: PolicySet, by: Principal): Promise<void> {
    await putInForce(batch, policies, by, `${filesOf(policies.files.length)} read again, and in force.`);
  }

  /** A transaction was committed. */
  took(batch: Batch): void {
    if (batch.published !== null) this.current = batch.published;
  }
}

function filesOf(count: number): string {
  return count === 1 ? "1 policy file" : `${count} policy files`;
}

interface RevisionRow {
  readonly number: number;
  readonly revision: string;
  readonly published_at: number;
  readonly published_by: string;
  readonly documents: string;
}

/**
 * The revisions in the store: immutable, and the newest one is in force for every process from the transaction on that
 * follows its own.
 */
export class PublishedPolicies implements PolicySource {
  private loaded = { number: 0, policies: policySet([]) };
  private readonly select: Statement;
  private readonly selectCommitted: Statement;
  private readonly selectNewest: Statement;
  private readonly selectAll: Statement;
  private readonly insert: Statement;

  constructor({ reader, writer }: Store) {
    const one = "SELECT * FROM policy_revisions WHERE number = ?";
    this.select = writer.prepare(one);
    this.selectCommitted = reader.prepare(one);
    this.selectNewest = reader.prepare("SELECT * FROM policy_revisions ORDER BY number DESC LIMIT 1");
    this.selectAll = reader.prepare(
      "SELECT number, revision, published_at, published_by FROM policy_revisions ORDER BY number DESC LIMIT 1000",
    );
    this.insert = writer.prepare(
      `INSERT INTO policy_revisions (number, revision, published_at, published_by, documents)
       VALUES (?, ?, ?, ?, ?)`,
    );
  }

  get known(): PolicySet {
    return this.loaded.policies;
  }

  inForce(batch: Batch): PolicySet | Promise<PolicySet> {
    if (batch.published !== null) return batch.published;
    return batch.policy === this.loaded.number ? this.loaded.policies : this.load(batch.policy);
  }

  async committed(number: number): Promise<PolicySet> {
    if (number === this.loaded.number) return this.loaded.policies;
    const row =
      number === 0 ? undefined : ((await this.selectCommitted.get(number)) as RevisionRow | undefined);
    return this.keep(number, row);
  }

  /** The revision in force, beside a transaction. */
  async newest(): Promise<PolicyRevision | null> {
    const row = (await this.selectNewest.get()) as RevisionRow | undefined;
    return row === undefined ? null : { ...describe(row), documents: documentsOf(row) };
  }

  async list(): Promise<Array<Omit<PolicyRevision, "documents">>> {
    return ((await this.selectAll.all()) as RevisionRow[]).map(describe);
  }

  /** The same documents again change nothing. */
  async publish(batch: Batch, documents: readonly PolicyDocument[], by: Principal): Promise<PolicyRevision> {
    const policies = readDocuments(documents);
    const { revision } = policies;
    const last = await this.row(await batch.lastId("policy_revisions"));
    if (last !== undefined && isSame(documentsOf(last), documents)) {
      return { ...describe(last), documents: documentsOf(last) };
    }
    const number = await batch.nextId("policy_revisions");
    const kept = JSON.stringify(documents.map(({ name, text }) => ({ name, text })));
    await this.insert.run(number, revision, batch.now, by.name, kept);
    await putInForce(batch, policies, by, `${filesOf(documents.length)} published.`);
    return { revision, publishedAt: isoTime(batch.now), publishedBy: by.name, documents };
  }

  private async load(number: number): Promise<PolicySet> {
    return this.keep(number, number === 0 ? undefined : await this.row(number));
  }

  private keep(number: number, row: RevisionRow | undefined): PolicySet {
    const policies = readDocuments(row === undefined ? [] : documentsOf(row));
    this.loaded = { number, policies };
    return policies;
  }

  private async row(number: number): Promise<RevisionRow | undefined> {
    return (await this.select.get(number)) as RevisionRow | undefined;
  }
}

/** Holds from here on in this transaction, and everywhere once it is committed. */
async function putInForce(batch: Batch, policies: PolicySet, by: Principal, reason: string): Promise<void> {
  const { revision } = policies;
  batch.published = policies;
  await batch.emit({ kind: "policy", revision });
  batch.records.append({ kind: "policy", principal: by.name, revision, reason });
}

/** @throws AegisError `policy_invalid`, naming every problem */
export function readDocuments(documents: readonly PolicyDocument[]): PolicySet {
  return policySet(documents.map(({ name, text }) => parsePolicy(text, name, { bareNames: false })));
}

function documentsOf(row: RevisionRow): PolicyDocument[] {
  return JSON.parse(row.documents) as PolicyDocument[];
}

function describe(row: RevisionRow): Omit<PolicyRevision, "documents"> {
  return {
    revision: row.revision,
    publishedAt: isoTime(row.published_at),
    publishedBy: row.published_by,
  };
}

/** Texts, not revisions: a comment that changed is published too, or people read another file than the one in force. */
function isSame(known: readonly PolicyDocument[], given: readonly PolicyDocument[]): boolean {
  const content = (documents: readonly PolicyDocument[]): string[] =>
    documents.map(({ name, text }) => JSON.stringify([name, text])).toSorted();
  return JSON.stringify(content(known)) === JSON.stringify(content(given));
}
