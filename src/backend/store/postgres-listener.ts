import type { Client } from "pg";
import type { Logger } from "../../log.js";
import { postgresFault } from "./postgres-faults.js";
import { cut, openSession, type Sessions } from "./postgres-session.js";

export const channel = "aegis_events";

/** Milliseconds between two tries to listen again; doubled from the first to the last. */
const FIRST = 100;
const LAST = 5_000;

/** Hears what other processes announce. What was announced while it was away is lost: then, too, somebody must look. */
export class Listener {
  private client: Client | null = null;
  private timer: NodeJS.Timeout | null = null;
  private wait = FIRST;
  private closed = false;

  /** @param own payload of this process's announcements: it knows of them */
  constructor(
    private readonly sessions: Sessions,
    private readonly own: string,
    private readonly heard: () => void,
    private readonly log: Logger,
  ) {}

  /** Resolves once it listens, or has failed to and will try again. */
  async listen(): Promise<void> {
    this.timer = null;
    try {
      const client = await this.connect();
      if (this.closed) cut(client);
      else this.client = client;
      this.wait = FIRST;
      this.heard();
    } catch (thrown) {
      this.again(thrown);
    }
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.client !== null) cut(this.client);
    this.client = null;
  }

  private async connect(): Promise<Client> {
    const client = await openSession(this.sessions, "listener", (lost) => this.lost(lost));
    client.on("notification", ({ payload }) => {
      if (payload !== this.own) this.heard();
    });
    try {
      await client.query(`LISTEN ${channel}`);
      return client;
    } catch (thrown) {
      cut(client);
      throw postgresFault(thrown);
    }
  }

  private lost(client: Client): void {
    if (this.client !== client) return;
    this.client = null;
    this.again(new Error("the connection ended"));
  }

  private again(thrown: unknown): void {
    if (this.closed) return;
    this.log.warn({ err: thrown }, "not listening to the database; trying again");
    // Jittered: many processes lose their connections in the same moment.
    this.timer = setTimeout(() => void this.listen(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(this.wait * 2, LAST);
  }
}
