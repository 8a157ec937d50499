import type { ApprovalStatus, BackendEvent, EventListener } from "../client/backend.js";
import type { Logger } from "../log.js";
import type { Connection, Statement } from "./store/driver.js";

/** Milliseconds between two looks at what other processes have committed: a third of what a held call may notice. */
const LOOK = 25;
/** Milliseconds events are kept. Who was away longer asks for the state itself. */
const KEPT = 3_600_000;
const PAGE = 1_000;

interface EventRow {
  readonly id: number;
  readonly kind: BackendEvent["kind"];
  readonly agent: string | null;
  readonly ref: number | null;
  readonly status: ApprovalStatus | null;
}

/** The table by which processes on one store hear of each other. */
export class Events {
  private readonly insertEvent: Statement;
  private readonly newest: Statement;
  private readonly next: Statement;
  private readonly prune: Statement;
  private readonly dataVersion: Statement;

  constructor(connection: Connection) {
    this.insertEvent = connection.prepare(
      "INSERT INTO events (at, kind, agent, ref, status) VALUES (?, ?, ?, ?, ?)",
    );
    // The sequence, not the rows: they are pruned.
    this.newest = connection.prepare("SELECT seq AS id FROM sqlite_sequence WHERE name = 'events'");
    this.next = connection.prepare(
      "SELECT id, kind, agent, ref, status FROM events WHERE id > ? ORDER BY id LIMIT ?",
    );
    this.prune = connection.prepare("DELETE FROM events WHERE at < ?");
    this.dataVersion = connection.prepare("PRAGMA data_version");
  }

  insert(now: number, event: BackendEvent): number {
    const agent = "agent" in event ? event.agent : null;
    const ref = "id" in event ? event.id : null;
    const status = event.kind === "approval" ? event.status : null;
    return Number(this.insertEvent.run(now, event.kind, agent, ref, status).lastInsertRowid);
  }

  /** Number of the newest event; 0 where there was none. */
  last(): number {
    return (this.newest.get() as { id: number } | undefined)?.id ?? 0;
  }

  after(id: number): EventRow[] {
    return this.next.all(id, PAGE) as EventRow[];
  }

  forgetOld(now: number): void {
    this.prune.run(now - KEPT);
  }

  /** Differs from the last answer exactly when another connection has committed (measured: 3 µs). */
  version(): number {
    return (this.dataVersion.get() as { data_version: number }).data_version;
  }
}

/** Carries the events of all processes to the listeners of this one. */
export class EventFeed {
  private readonly listeners = new Set<EventListener>();
  private readonly unsettled = new Set<number>();
  private timer: NodeJS.Timeout | null = null;
  private version = -1;
  private position: number;
  private failing = false;

  /**
   * @param looked called at every look, with the time
   * @param settled told the newest event that, like all before it, every listener has finished with
   */
  constructor(
    private readonly events: Events,
    private readonly looked: (now: number) => void,
    private readonly settled: (event: number) => void,
    private readonly log: Logger,
  ) {
    this.position = events.last();
  }

  start(): void {
    this.timer = setInterval(this.look, LOOK).unref();
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.listeners.clear();
  }

  subscribe(listener: EventListener): () => void {
    // A function of its own: the same listener may subscribe twice.
    const own: EventListener = (event) => listener(event);
    this.listeners.add(own);
    return () => this.listeners.delete(own);
  }

  /** Delivers what is new, at once: for what this process has committed itself. */
  deliver(): void {
    for (;;) {
      const rows = this.events.after(this.position);
      for (const row of rows) {
        this.position = row.id;
        this.tell(row);
      }
      if (rows.length < PAGE) return;
    }
  }

  private readonly look = (): void => {
    try {
      this.looked(Date.now());
      const version = this.events.version();
      if (version === this.version) return;
      this.deliver();
      // Only now: what could not be read is looked for again.
      this.version = version;
      this.failing = false;
    } catch (thrown) {
      if (!this.failing) this.log.error({ err: thrown }, "events cannot be read");
      this.failing = true;
    }
  };

  private tell(row: EventRow): void {
    const event = eventOf(row);
    if (event === null) return;
    this.unsettled.add(row.id);
    // All of them now, and each event as soon as it is there: a slow listener never delays the news of a kill.
    const finished = [...this.listeners].map(async (listener) => listener(event));
    Promise.all(finished).then(
      () => this.finish(row.id, true),
      (thrown: unknown) => {
        this.log.error({ err: thrown, event }, "a listener failed");
        this.finish(row.id, false);
      },
    );
  }

  /** Confirms, in order. An event whose listener failed is not confirmed by itself. */
  private finish(id: number, well: boolean): void {
    this.unsettled.delete(id);
    if (!well) return;
    let oldest = this.position + 1;
    for (const waiting of this.unsettled) oldest = Math.min(oldest, waiting);
    if (oldest > id) this.settled(oldest - 1);
  }
}

function eventOf(row: EventRow): BackendEvent | null {
  switch (row.kind) {
    case "kill":
    case "revive":
      return row.agent === null ? null : { kind: row.kind, agent: row.agent };
    case "approval":
      return row.ref === null || row.status === null
        ? null
        : { kind: row.kind, id: row.ref, status: row.status };
    case "token":
      return row.ref === null ? null : { kind: row.kind, id: row.ref };
    default:
      return null;
  }
}
