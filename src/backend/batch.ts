import type { BackendEvent } from "../client/backend.js";
import type { AgentState, Agents, Count, Counts } from "./agents.js";
import type { Events } from "./events.js";
import type { Gateways } from "./gateways.js";
import type { Appender, Chain } from "./ledger/chain.js";
import type { Flushable } from "./store/commit.js";
import { isoTime } from "./time.js";

/** The tables that every transaction may touch. */
export interface Tables {
  readonly chain: Chain;
  readonly agents: Agents;
  readonly events: Events;
  readonly gateways: Gateways;
}

/** One transaction: what its units have read so far, and what they will have written. Has the write lock. */
export class Batch implements Flushable {
  /** Milliseconds since the epoch: one time for the whole transaction. */
  readonly now = Date.now();
  readonly records: Appender;
  /** Calls whose end is still to come, with the record of their decision. */
  readonly started = new Map<string, number>();
  /** Calls that ended. */
  readonly ended: string[] = [];
  /** Something for the listeners has happened. */
  eventful = false;

  private readonly states = new Map<string, AgentState | null>();
  private readonly counts = new Map<string, Counts>();
  private live: ReadonlySet<string> | null = null;

  constructor(
    private readonly tables: Tables,
    /** A unit of an earlier try broke a constraint: look before you write. */
    readonly careful: boolean,
  ) {
    this.records = tables.chain.appender(isoTime(this.now));
  }

  /** Read inside this transaction, once: no kill can come between this and the commit. */
  agent(name: string): AgentState | null {
    let state = this.states.get(name);
    if (state === undefined) {
      state = this.tables.agents.state(name);
      this.states.set(name, state);
    }
    return state;
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

  /** Tells every listener of every process, once this is committed. Returns the event's number. */
  emit(event: BackendEvent): number {
    this.eventful = true;
    return this.tables.events.insert(this.now, event);
  }

  /** Ids of the gateways that are alive. */
  liveGateways(): ReadonlySet<string> {
    this.live ??= this.tables.gateways.live(this.now);
    return this.live;
  }

  flush(): void {
    this.records.flush();
    for (const [name, counts] of this.counts) this.tables.agents.add(name, counts);
    this.counts.clear();
  }
}
