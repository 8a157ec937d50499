import type { BackendEvent, Principal } from "../../../client/backend.js";
import { AegisError } from "../../../errors.js";
import type { Service } from "../../service.js";

/** Approvals whose agent is remembered: it never changes, and every gateway hears of each. */
const remembered = 4_096;

/** What a gateway may hear: one whose token is bound to an agent, of that agent and that token only (threat T16). */
export class OwnEvents {
  private readonly agents = new Map<number, string>();

  constructor(private readonly service: Service) {}

  async isFor(event: BackendEvent, { agent, token }: Principal): Promise<boolean> {
    if (agent === null) return true;
    switch (event.kind) {
      case "kill":
      case "revive":
      case "tools":
        return event.agent === agent;
      case "approval":
        return (await this.agentOf(event.id)) === agent;
      case "token":
        return event.id === token;
      case "policy":
      case "resync":
        return true;
    }
  }

  /** Null where there is no such approval. */
  private async agentOf(approval: number): Promise<string | null> {
    const known = this.agents.get(approval);
    if (known !== undefined) return known;
    try {
      const { agent } = await this.service.approval(approval);
      if (this.agents.size >= remembered) this.agents.clear();
      this.agents.set(approval, agent);
      return agent;
    } catch (thrown) {
      if (thrown instanceof AegisError && thrown.code === "unknown_approval") return null;
      throw thrown;
    }
  }
}
