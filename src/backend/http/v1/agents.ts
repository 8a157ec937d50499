import {
  agentsAnswer,
  agentToWire,
  agentWire,
  ensureAgentRequest,
  killAnswer,
  killRequest,
  receiptToWire,
} from "../../../client/wire/agents.js";
import { noQuery, nothingWire } from "../../../client/wire/fields.js";
import type { RegisterRoutes } from "../app.js";
import { requireOwnAgent } from "../own-agent.js";

/** Agents, and the kill switch. */
export const agentRoutes: RegisterRoutes = (app, { service }) => {
  app.post(
    "/v1/agents",
    {
      schema: {
        summary: "Make an agent known",
        description:
          "Creates it where it is unknown; never changes its status: a killed agent stays killed. Answers with the agent as it is.",
        body: ensureAgentRequest,
        response: { 200: agentWire },
      },
    },
    async (request) => {
      const { name, owner } = request.body;
      requireOwnAgent(request.principal, name);
      if (owner === undefined) await service.ensureAgent(name);
      else await service.register(name, owner);
      const agent = await service.agent(name);
      if (agent === null) throw new Error(`the agent ${name} was written, and is not there`);
      return agentToWire(agent);
    },
  );

  app.get(
    "/v1/agents",
    { schema: { summary: "All agents", querystring: noQuery, response: { 200: agentsAnswer } } },
    async () => ({ agents: (await service.agents()).map(agentToWire) }),
  );

  app.post(
    "/v1/kill",
    {
      schema: {
        summary: "Stop an agent",
        description:
          "Answers once nothing of the agent can be forwarded any more: every live gateway confirmed it, or the leases of " +
          "those that did not ran out.",
        body: killRequest,
        response: { 200: killAnswer },
      },
    },
    async (request) => {
      const { agent, reason } = request.body;
      return receiptToWire(await service.kill(agent, request.principal, reason));
    },
  );

  app.post(
    "/v1/revive",
    {
      schema: {
        summary: "Let a killed agent go on",
        description: "Approvals that became void stay so.",
        body: killRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      const { agent, reason } = request.body;
      await service.revive(agent, request.principal, reason);
      return {};
    },
  );
};
