import type { BackendEvent } from "../client/backend.js";
import type { PolicySet } from "../policy/policy.js";
import type { AgentState, Agents, Count, Counts } from "./agents.js";
import type { Blocks } from "./blocks.js";
import type { Events } from "./events.js";
import type { Gateways } from "./gateways/gateways.js";
import type { Appender, Chain } from "./ledger/chain.js";
import type { Flushable } from "./store/commit.js";
import type { Counters } from "./store/counters.js";
import type { Store } from "./store/store.js";
import { isoTime } from "./time.js";

/** The tables that every transaction may touch. */
export interface Tables {
  readonly store: Store;
  readonly chain: Chain;
  readonly agents: Agents;
  readonly blocks: Blocks;
  readonly counters: Counters;
  readonly events: Events;
  readonly gateways: Gateways;
}

/** One transaction: what its units have read so far, and what they will have written. Has the write lock. */
export class Batch implements Flushable {
  /** Calls whose end is still to come, with the record of their decision. */
  readonly started = new Map<string, { readonly gateway: string; readonly record: number }>();
  /** Calls that ended. */
  readonly ended: string[] = [];
  /** Approvals it has opened. */
  readonly opened: number[] = [];
  /** Something for the listeners has happened. */
  eventful = false;
  /** Policies that this very transaction has published: they may still be rolled back. */
  published: PolicySet | null = null;
  /** This very transaction has changed what is pinned of tools: that may still be rolled back. */
  toolsChanged = false;

  private readonly unwritten: Array<() => Promise<void>> = [];
  private readonly states = new Map<string, AgentState | null>();
  private readonly counts = new Map<string, Counts>();
  private live: ReadonlySet<string> | null = null;

  private constructor(
    private readonly tables: Tables,
    /** A unit of an earlier try broke a constraint: look before you write. */
    readonly careful: boolean,
    /** Milliseconds since the epoch: one time for the whole transaction. */
    readonly now: number,
    readonly records: Appender,
    /** Number of the policy revision in force; 0 where none was published. */
    readonly policy: number,
    /** Another one than before: what is pinned of tools has changed. */
    readonly tools: number,
    /** Some calls that run are counted. */
    public running: boolean,
  ) {}

  /** Of a transaction that has begun: from here on it has the write lock. */
  static async open(tables: Tables, careful: boolean): Promise<Batch> {
    const now = tables.store.now();
    const { head, policy, tools, running } = await tables.chain.head();
    const records = tables.chain.appender(isoTime(now), head);
    return new Batch(tables, careful, now, records, policy, tools, running);
  }

  /** Read inside this transaction, once: no kill can come between this and the commit. */
  async agent(name: string): Promise<AgentState | null> {
    let state = this.states.get(name);
    if (state === undefined) {
      state = await this.tables.agents.state(name);
      this.states.set(name, state);
    }
    return state;
  }

  /** A number for a new row, never given before. */
  nextId(of: "approvals" | "grants" | "tokens" | "policy_revisions"): Promise<number> {
    return this.tables.counters.next(of);
  }

  /** What is pinned of tools is about to change: from this transaction on nobody goes by what was known of it. */
  async changeTools(): Promise<void> {
    if (!this.toolsChanged) await this.tables.counters.next("tools");
    this.toolsChanged = true;
  }

  /** Its state was changed. */
  forget(name: string): void {
    this.states.delete(name);
  }

  count(name: string, what: Count): void {
    let counts = this.counts.get(name);
    if (counts === undefined) {
      counts = { allowed: 0, blocked: 0, held: 0 };
      this.counts.set(name, counts);
    }
    counts[what]++;
  }

  /** Queues what several units of this transaction write together. */
  writeAtEnd(write: () => Promise<void>): void {
    this.unwritten.push(write);
  }

  /** The number that was given last; 0 where none was. */
  lastId(of: "policy_revisions"): Promise<number> {
    return this.tables.counters.last(of);
  }

  /** Tells every listener of every process, once this is committed. Returns the event's number. */
  emit(event: BackendEvent): Promise<number> {
    return this.emitAll([event]);
  }

  /** The same of several, in their order. Returns the number of the last. */
  async emitAll(emitted: readonly BackendEvent[]): Promise<number> {
    const { counters, events, store } = this.tables;
    if (!this.eventful) await store.announce();
    this.eventful = true;
    const last = await counters.next("events", emitted.length);
    await events.insert(last - emitted.length + 1, this.now, emitted);
    return last;
  }

  /** Ids of the gateways that are alive. */
  async liveGateways(): Promise<ReadonlySet<string>> {
    this.live ??= await this.tables.gateways.live(this.now, "writer");
    return this.live;
  }

  async flush(): Promise<void> {
    await this.records.flush();
    for (const write of this.unwritten.splice(0)) await write();
    let blocked = 0;
    for (const [name, counts] of this.counts) {
      await this.tables.agents.add(name, counts);
      blocked += counts.blocked;
    }
    if (blocked > 0) await this.tables.blocks.add(this.now, blocked);
    this.counts.clear();
  }
}
