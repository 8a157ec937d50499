import type { Backend } from "../client/backend.js";

/**
 * What this gateway knows of kills, for everything that is not decided by the backend call by call: the other methods,
 * and calls that are held or under way. A `tools/call` asks the backend each time; this is never its only guard.
 */
export class KillSwitch {
  private readonly killed = new Set<string>();
  private readonly listeners = new Set<(agent: string) => void>();

  /** Follows the backend's events. Resolves when the present state is known. */
  static async following(backend: Backend): Promise<{ killSwitch: KillSwitch; unsubscribe: () => void }> {
    const killSwitch = new KillSwitch();
    // What is heard while the present state is read is newer than what is read.
    const heard = new Set<string>();
    const unsubscribe = backend.subscribe((event) => {
      if (event.kind === "kill" || event.kind === "revive") heard.add(event.agent);
      if (event.kind === "revive") killSwitch.killed.delete(event.agent);
      if (event.kind !== "kill") return;
      killSwitch.killed.add(event.agent);
      for (const listener of killSwitch.listeners) listener(event.agent);
    });
    for (const agent of await backend.agents()) {
      if (agent.status === "KILLED" && !heard.has(agent.name)) killSwitch.killed.add(agent.name);
    }
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
}
