import type { ApprovalStatus, BackendEvent, EventListener } from "../client/backend.js";
import type { Logger } from "../log.js";
import type { NumberedEvent } from "./service.js";
import { patiently } from "./store/patience.js";
import type { Statement, Store, Value } from "./store/store.js";

/** Milliseconds events are kept. Who was away longer asks for the state itself. */
const KEPT = 3_600_000;
const PAGE = 1_000;
/**
 * Milliseconds in which an event that a listener failed with holds up the confirmation of all later ones: longer than
 * any kill waits for its own.
 */
const FAILED = 10_000;
/** Milliseconds until listeners that could not read the state anew are told to once more. */
const AGAIN = 500;
/** Rows of one statement: a kill tells of hundreds of approvals in a transaction. */
const ROWS = 50;

interface EventRow {
  readonly id: number;
  readonly kind: BackendEvent["kind"];
  readonly agent: string | null;
  readonly ref: number | null;
  readonly status: string | null;
}

/** The table by which processes on one store hear of each other. */
export class Events {
  private readonly insertOne: Statement;
  private readonly insertMany: Statement;
  private readonly newest: Readonly<Record<"reader" | "writer", Statement>>;
  private readonly next: Statement;
  private readonly oldest: Statement;
  private readonly prune: Statement;

  constructor({ reader, writer }: Store) {
    const insert = "INSERT INTO events (id, at, kind, agent, ref, status) VALUES ";
    const row = "(?, ?, ?, ?, ?, ?)";
    this.insertOne = writer.prepare(insert + row);
    this.insertMany = writer.prepare(insert + Array.from({ length: ROWS }, () => row).join(", "));
    // The counter, not the rows: they are pruned.
    const newest = "SELECT value AS id FROM counters WHERE name = 'events'";
    this.newest = { reader: reader.prepare(newest), writer: writer.prepare(newest) };
    this.next = reader.prepare(
      "SELECT id, kind, agent, ref, status FROM events WHERE id > ? ORDER BY id LIMIT ?",
    );
    this.oldest = reader.prepare("SELECT min(id) AS id FROM events");
    this.prune = writer.prepare("DELETE FROM events WHERE at < ?");
  }

  /** @param first number of the first one */
  async insert(first: number, now: number, events: readonly BackendEvent[]): Promise<void> {
    const rows = events.map((event, at) => valuesOf(first + at, now, event));
    for (let from = 0; from < rows.length; ) {
      const some = rows.slice(from, from + ROWS);
      const whole = some.length === ROWS;
      await (whole ? this.insertMany.run(...some.flat()) : this.insertOne.run(...(some[0] ?? [])));
      from += whole ? ROWS : 1;
    }
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
   * @param failed milliseconds
   */
  constructor(
    private readonly store: Store,
    private readonly events: Events,
    private readonly looked: () => void,
    private readonly settled: (event: number) => void,
    private readonly log: Logger,
    private readonly failed = FAILED,
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
      let rows = await this.events.after(this.position);
      if (rows.length === 0) {
        const newest = await this.events.last("reader");
        if (newest <= this.position) return;
        // They came between the two looks, or were forgotten before the first.
        rows = await this.events.after(this.position);
        if (rows.length === 0) return this.miss(newest);
      }
      const [first] = rows;
      if (first !== undefined && first.id > this.position + 1) this.miss(first.id - 1);
      for (const row of rows) {
        this.position = row.id;
        const event = eventOf(row);
        if (event !== null) this.tell(row.id, event);
      }
      if (rows.length < PAGE) return;
    }
  }

  /** This process was cut off for longer than events are kept: a kill may be among those up to this one. */
  private miss(newest: number): void {
    this.log.warn({ after: this.position, newest }, "events were missed: the state is read anew");
    this.position = newest;
    this.tell(newest, { kind: "resync" });
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

  private tell(id: number, event: BackendEvent): void {
    this.unsettled.add(id);
    // All of them now, and each event as soon as it is there: a slow listener never delays the news of a kill.
    const finished = [...this.listeners].map(async (listener) => listener(event));
    Promise.all(finished).then(
      () => this.finish(id),
      (thrown: unknown) => {
        this.log.error({ err: thrown, event }, "a listener failed");
        this.fail(id, event);
      },
    );
  }

  /** Not confirmed: not by itself, and not by one that comes after it. */
  private fail(id: number, event: BackendEvent): void {
    const missed = event.kind === "resync";
    const over = (): void => {
      if (missed && this.timer !== null) this.tell(id, event);
      else this.unsettled.delete(id);
    };
    setTimeout(over, missed ? AGAIN : this.failed).unref();
  }

  /** Confirms, in order. */
  private finish(id: number): void {
    this.unsettled.delete(id);
    let oldest = this.position + 1;
    for (const waiting of this.unsettled) oldest = Math.min(oldest, waiting);
    if (oldest > id) this.settled(oldest - 1);
  }
}

function valuesOf(id: number, now: number, event: BackendEvent): Value[] {
  const agent = "agent" in event ? event.agent : null;
  const ref = "id" in event ? event.id : null;
  // A text that belongs to the kind.
  const status = event.kind === "approval" ? event.status : event.kind === "policy" ? event.revision : null;
  return [id, now, event.kind, agent, ref, status];
}

function eventOf(row: EventRow): BackendEvent | null {
  switch (row.kind) {
    case "kill":
    case "revive":
    case "tools":
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
