import type { Backend } from "../../client/backend.js";
import type { Config } from "../../config.js";
import { reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { HttpSession } from "./session.js";

/** Milliseconds. */
const TICK = 1000;
/** Ticks between two looks at the token of a session. */
const RECHECK = 10;

/** The sessions of the HTTP front, and when they end: left, idle, or without a credential that is still good. */
export class Sessions {
  private readonly byId = new Map<string, HttpSession>();
  private readonly ticker: NodeJS.Timeout;
  private ticks = 0;

  constructor(
    private readonly backend: Backend,
    private readonly limits: Config["limits"],
    private readonly log: Logger,
  ) {
    this.ticker = setInterval(() => this.tick(), TICK).unref();
  }

  get full(): boolean {
    return this.byId.size >= this.limits.sessions;
  }

  get(id: string): HttpSession | undefined {
    return this.byId.get(id);
  }

  add(session: HttpSession): void {
    this.byId.set(session.id, session);
  }

  async end(session: HttpSession): Promise<void> {
    this.byId.delete(session.id);
    await session.end();
  }

  endInBackground(session: HttpSession): void {
    this.end(session).catch((thrown: unknown) => this.log.warn(reasonOf(thrown)));
  }

  /** Ends every session that was opened with this token. */
  async endToken(token: number): Promise<void> {
    const theirs = [...this.byId.values()].filter((session) => session.principal.token === token);
    await Promise.all(theirs.map((session) => this.end(session)));
  }

  async close(): Promise<void> {
    clearInterval(this.ticker);
    await Promise.all([...this.byId.values()].map((session) => this.end(session)));
  }

  private tick(): void {
    const now = performance.now();
    this.ticks++;
    for (const session of this.byId.values()) {
      session.tick(now);
      if (session.idle(now) > this.limits.sessionIdle) this.endInBackground(session);
      else if (this.ticks % RECHECK === 0) this.recheck(session);
    }
  }

  /** A revocation is heard at once; that a token has expired has to be looked for while its streams are open. */
  private recheck(session: HttpSession): void {
    this.backend.authenticate(session.credential).then(
      (principal) => {
        if (principal === null) this.endInBackground(session);
      },
      (thrown: unknown) => this.log.warn({ reason: reasonOf(thrown) }, "a token could not be looked at"),
    );
  }
}
