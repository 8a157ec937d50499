import type { ApprovalStatus, BackendEvent, EventListener } from "../client/backend.js";
import type { Logger } from "../log.js";
import type { NumberedEvent } from "./service.js";
import { patiently } from "./store/patience.js";
import type { Statement, Store } from "./store/store.js";

/** Milliseconds events are kept. Who was away longer asks for the state itself. */
const KEPT = 3_600_000;
const PAGE = 1_000;

interface EventRow {
  readonly id: number;
  readonly kind: BackendEvent["kind"];
  readonly agent: string | null;
  readonly ref: number | null;
  readonly status: string | null;
}

/** The table by which processes on one store hear of each other. */
export class Events {
  private readonly insertEvent: Statement;
  private readonly newest: Readonly<Record<"reader" | "writer", Statement>>;
  private readonly next: Statement;
  private readonly oldest: Statement;
  private readonly prune: Statement;

  constructor({ reader, writer }: Store) {
    this.insertEvent = writer.prepare(
      "INSERT INTO events (id, at, kind, agent, ref, status) VALUES (?, ?, ?, ?, ?, ?)",
    );
    // The counter, not the rows: they are pruned.
    const newest = "SELECT value AS id FROM counters WHERE name = 'events'";
    this.newest = { reader: reader.prepare(newest), writer: writer.prepare(newest) };
    this.next = reader.prepare(
      "SELECT id, kind, agent, ref, status FROM events WHERE id > ? ORDER BY id LIMIT ?",
    );
    this.oldest = reader.prepare("SELECT min(id) AS id FROM events");
    this.prune = writer.prepare("DELETE FROM events WHERE at < ?");
  }

  async insert(id: number, now: number, event: BackendEvent): Promise<void> {
    const agent = "agent" in event ? event.agent : null;
    const ref = "id" in event ? event.id : null;
    // A text that belongs to the kind.
    const status = event.kind === "approval" ? event.status : event.kind === "policy" ? event.revision : null;
    await this.insertEvent.run(id, now, event.kind, agent, ref, status);
  }

  /** Number of the newest event; 0 where there was none. */
  async last(where: "reader" | "writer"): Promise<number> {
    return ((await this.newest[where].get()) as { id: number }).id;
  }

  async after(id: number): Promise<EventRow[]> {
    return (await this.next.all(id, PAGE)) as EventRow[];
  }

  /** The events behind this number, oldest first; null where some of them are forgotten already. */
  async since(number: number): Promise<NumberedEvent[] | null> {
    const oldest = ((await this.oldest.get()) as { id: number | null }).id;
    const first = oldest ?? (await this.last("reader")) + 1;
    if (number + 1 < first) return null;
    return (await this.after(number)).flatMap((row) => {
      const event = eventOf(row);
      return event === null ? [] : [{ number: row.id, event }];
    });
  }

  async forgetOld(now: number): Promise<void> {
    await this.prune.run(now - KEPT);
  }
}

/** Carries the events of all processes to the listeners of this one. */
export class EventFeed {
  private readonly listeners = new Set<EventListener>();
  private readonly unsettled = new Set<number>();
  private timer: NodeJS.Timeout | null = null;
  private version = -1;
  private position = 0;
  private failing = false;
  private delivering: Promise<void> | null = null;
  private again = false;

  /**
   * @param looked called at every look
   * @param settled told the newest event that, like all before it, every listener has finished with
   */
  constructor(
    private readonly store: Store,
    private readonly events: Events,
    private readonly looked: () => void,
    private readonly settled: (event: number) => void,
    private readonly log: Logger,
  ) {}

  /** From the events on that come after this moment. */
  async start(): Promise<void> {
    this.position = await patiently(this.store, () => this.events.last("reader"));
    this.store.onAnnounced(() => this.deliver());
    this.timer = setInterval(this.look, this.store.look).unref();
  }

  /** Resolves when what it has begun is over: the store can be closed. */
  async stop(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
    this.listeners.clear();
    await this.delivering;
  }

  subscribe(listener: EventListener): () => void {
    // A function of its own: the same listener may subscribe twice.
    const own: EventListener = (event) => listener(event);
    this.listeners.add(own);
    return () => this.listeners.delete(own);
  }

  /** Delivers what is new, at once: for what this process has committed itself. */
  deliver(): void {
    // One at a time, in order; what is committed meanwhile is read by one more round.
    if (this.delivering !== null) {
      this.again = true;
      return;
    }
    this.delivering = this.read()
      .then(
        () => {
          this.failing = false;
        },
        (thrown: unknown) => {
          // What could not be read is looked for again.
          this.version = -1;
          if (!this.failing) this.log.error({ err: thrown }, "events cannot be read");
          this.failing = true;
        },
      )
      .finally(() => {
        this.delivering = null;
        if (!this.again || this.timer === null) return;
        this.again = false;
        this.deliver();
      });
  }

  private async read(): Promise<void> {
    for (;;) {
      const rows = await this.events.after(this.position);
      for (const row of rows) {
        this.position = row.id;
        this.tell(row);
      }
      if (rows.length < PAGE) return;
    }
  }

  private readonly look = (): void => {
    this.looked();
    this.store.version().then(
      (version) => {
        if (version === this.version) return;
        this.version = version;
        this.deliver();
      },
      (thrown: unknown) => {
        if (!this.failing) this.log.error({ err: thrown }, "events cannot be read");
        this.failing = true;
      },
    );
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
        : { kind: row.kind, id: row.ref, status: row.status as ApprovalStatus };
    case "token":
      return row.ref === null ? null : { kind: row.kind, id: row.ref };
    case "policy":
      return row.status === null ? null : { kind: row.kind, revision: row.status };
    default:
      return null;
  }
}
