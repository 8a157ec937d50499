import type { Backend, BackendEvent } from "../client/backend.js";

/**
 * What this gateway knows of kills, for everything that is not decided by the backend call by call: the other methods,
 * and calls that are held or under way. A `tools/call` asks the backend each time; this is never its only guard.
 */
export class KillSwitch {
  private readonly killed = new Set<string>();
  private readonly listeners = new Set<(agent: string) => void>();
  /** The newest event of each agent, by a number of our own: what is read while it comes is older. */
  private readonly heard = new Map<string, number>();
  private events = 0;

  private constructor(private readonly backend: Backend) {}

  /** Follows the backend's events. Resolves when the present state is known. */
  static async following(backend: Backend): Promise<{ killSwitch: KillSwitch; unsubscribe: () => void }> {
    const killSwitch = new KillSwitch(backend);
    const unsubscribe = backend.subscribe((event) => killSwitch.take(event));
    await killSwitch.read();
    return { killSwitch, unsubscribe };
  }

  isKilled(agent: string): boolean {
    return this.killed.has(agent);
  }

  /** Told at every kill, before the backend is told that this gateway has taken it in. */
  onKill(listener: (agent: string) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private take(event: BackendEvent): void | Promise<void> {
    if (event.kind === "resync") return this.read();
    if (event.kind !== "kill" && event.kind !== "revive") return;
    this.heard.set(event.agent, ++this.events);
    if (event.kind === "kill") this.kill(event.agent);
    else this.killed.delete(event.agent);
  }

  private kill(agent: string): void {
    this.killed.add(agent);
    for (const listener of this.listeners) listener(agent);
  }

  /** At the start, and where events were missed. */
  private async read(): Promise<void> {
    const before = this.events;
    for (const { name, status } of await this.backend.agents()) {
      if ((this.heard.get(name) ?? 0) > before) continue;
      if (status === "ACTIVE") this.killed.delete(name);
      else if (!this.killed.has(name)) this.kill(name);
    }
  }
}
