import { reasonOf } from "../errors.js";
import type { Logger } from "../log.js";
import type { Listeners } from "./listeners.js";
import type { OriginalApi, OriginalStatus } from "./original-api.js";

/** Milliseconds between two looks at an agent: with calls open, and without. */
const LOOK = 500;
const LOOK_IDLE = 5_000;

/**
 * Which agents are killed. At the original, an agent that registers again is no longer paused (Z13): here it stays
 * killed until a person has set it to ACTIVE. Agents are looked at again and again, since nobody tells.
 */
export class Latch {
  private readonly agents = new Map<string, "ACTIVE" | "KILLED">();
  /** `performance.now()` at which the newest answer about an agent was asked for. */
  private readonly askedAt = new Map<string, number>();
  /** The agent of every call that was allowed or is held. */
  private readonly open = new Map<string, string>();
  private timer: NodeJS.Timeout | null = null;
  private lookedAt = 0;
  private looking = false;

  constructor(
    private readonly api: OriginalApi,
    private readonly listeners: Listeners,
    private readonly log: Logger,
  ) {}

  knows(agent: string): boolean {
    return this.agents.has(agent);
  }

  get known(): readonly string[] {
    return [...this.agents.keys()];
  }

  isKilled(agent: string): boolean {
    return this.agents.get(agent) === "KILLED";
  }

  /**
   * Takes in what the backend says of an agent, and tells of a kill or its end. What was asked for before the newest
   * answer is older than that, and changes nothing: a kill is not undone by an answer that was slow.
   *
   * @param sentAt `performance.now()` right before it was asked for
   */
  async saw(agent: string, status: OriginalStatus, sentAt: number): Promise<void> {
    if (sentAt < (this.askedAt.get(agent) ?? 0)) return;
    this.askedAt.set(agent, sentAt);
    const before = this.agents.get(agent) ?? "ACTIVE";
    const now = status === "PAUSED" ? "KILLED" : status === "ACTIVE" ? "ACTIVE" : before;
    this.agents.set(agent, now);
    if (now !== before) await this.listeners.tell({ kind: now === "KILLED" ? "kill" : "revive", agent });
  }

  /** Begins to look at the agents. */
  start(): void {
    this.timer ??= setInterval(() => {
      const due = this.open.size > 0 ? LOOK : LOOK_IDLE;
      if (this.looking || performance.now() - this.lookedAt < due - LOOK / 10) return;
      this.looking = true;
      this.lookedAt = performance.now();
      this.look().then(
        () => {
          this.looking = false;
        },
        () => {},
      );
    }, LOOK).unref();
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  began(call: string, agent: string): void {
    this.open.set(call, agent);
  }

  ended(call: string): void {
    this.open.delete(call);
  }

  private async look(): Promise<void> {
    const busy = new Set(this.open.values());
    for (const agent of busy.size > 0 ? busy : this.agents.keys()) {
      try {
        const { status, sentAt } = await this.api.agentStatus(agent);
        await this.saw(agent, status, sentAt);
      } catch (thrown) {
        // Every call asks for itself; what runs goes on until the backend can be read again.
        this.log.debug({ agent, reason: reasonOf(thrown) }, "the agent's status cannot be read");
      }
    }
  }
}
