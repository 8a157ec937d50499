import { AegisError } from "../errors.js";
import type { Agent, AgentStatus, ApprovalStatus } from "./backend.js";
import type { Api } from "./http-api.js";
import type { Listeners } from "./listeners.js";
import { agentFromWire, agentWire } from "./wire/agents.js";
import { approvalWire } from "./wire/approvals.js";

/** Questions at one time while everything is read anew. */
const AT_ONCE = 16;

/**
 * What this gateway believes of the agents it serves, and how it finds out what it missed: events carry changes, and
 * whoever was away asks for the state itself. What turns out different is told as the event that was missed.
 */
export class KnownState {
  private readonly agents = new Map<string, AgentStatus>();
  /** Counts questions and events. */
  private count = 0;
  /** Of each agent, the number of the newest event, or of the newest question that was answered. */
  private readonly newest = new Map<string, number>();

  constructor(
    private readonly api: Api,
    private readonly listeners: Listeners,
    /** The approvals that calls wait on. */
    private readonly held: () => Iterable<number>,
  ) {}

  /** An event that came says so. */
  believe(agent: string, status: AgentStatus): void {
    this.newest.set(agent, ++this.count);
    if (this.agents.has(agent) || status === "KILLED") this.agents.set(agent, status);
  }

  /**
   * Creates the agent where it is unknown. An answer that was asked for before the newest event, or before a question
   * that has its answer, may be older than that: it changes nothing.
   *
   * @returns the agent with the status that is believed @throws AegisError
   */
  async ensure(name: string): Promise<Agent> {
    const asked = ++this.count;
    const agent = agentFromWire(await this.api.post("/v1/agents", { name }, agentWire));
    if (asked < (this.newest.get(name) ?? 0))
      return { ...agent, status: this.agents.get(name) ?? agent.status };
    this.newest.set(name, asked);
    const before = this.agents.get(name) ?? "ACTIVE";
    this.agents.set(name, agent.status);
    if (before !== agent.status)
      await this.listeners.tell({ kind: agent.status === "KILLED" ? "kill" : "revive", agent: name });
    return agent;
  }

  /** The agents that were ever ensured here, as they are now. @throws AegisError */
  async ensureAll(): Promise<readonly Agent[]> {
    return inTurns([...this.agents.keys()], (name) => this.ensure(name));
  }

  /** Reads what may have been missed. @throws AegisError where it cannot be read */
  async reread(): Promise<void> {
    await this.ensureAll();
    await inTurns([...new Set(this.held())], async (id) => {
      const status = await this.statusOf(id);
      if (status !== "pending") await this.listeners.tell({ kind: "approval", id, status });
    });
  }

  /** One that the backend does not know any more is void: it lost its store. */
  private async statusOf(id: number): Promise<ApprovalStatus> {
    try {
      return (await this.api.get(`/v1/approvals/${id}`, approvalWire)).status;
    } catch (thrown) {
      if (thrown instanceof AegisError && thrown.code === "unknown_approval") return "void";
      throw thrown;
    }
  }
}

/** In the order of the items; the first failure is the whole's. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let from = 0; from < items.length; from += AT_ONCE)
    results.push(...(await Promise.all(items.slice(from, from + AT_ONCE).map(work))));
  return results;
}
