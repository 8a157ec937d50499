import { z } from "zod";
import { unknownAgent } from "../../agents.js";
import type { RuleType } from "../../service.js";
import type { RegisterRoutes } from "../app.js";
import { HttpError } from "../errors.js";
import { logWire, newestEntries, withSeverity } from "./audit.js";
import { decide } from "./decide.js";
import { checkPart } from "./path-names.js";
import { setStatus } from "./switch.js";
import { agentToWire, agentWire, approvalToWire, idParams, pendingFilter, pendingWire } from "./wire.js";

/** Entries of one page of the log. */
const shown = 50;

const nameParams = z.object({ name: z.string() });

/** What the existing dashboard shows and does. */
export const dashboardRoutes: RegisterRoutes = (app, { service }) => {
  app.get(
    "/stats",
    {
      schema: {
        summary: "Figures of this moment",
        response: {
          200: z.object({
            registered_agents: z.int(),
            active_agents: z.int(),
            total_blocks_24h: z.int(),
            pending_approvals: z.int(),
            risk_level: z.enum(["LOW", "MEDIUM", "HIGH", "CRITICAL"]),
          }),
        },
      },
    },
    async () => {
      const { agents, activeAgents, blocks, pendingApprovals } = await service.stats();
      return {
        registered_agents: agents,
        active_agents: activeAgents,
        total_blocks_24h: blocks,
        pending_approvals: pendingApprovals,
        risk_level: riskLevel(blocks),
      };
    },
  );

  app.get(
    "/agents",
    { schema: { summary: "All agents", response: { 200: z.array(agentWire) } } },
    async () => {
      const [agents, reported] = await Promise.all([service.agents(), service.reported()]);
      const byAgent = new Map(reported.map((one) => [one.agent, one]));
      return agents.map((agent) => agentToWire(agent, byAgent.get(agent.name) ?? null));
    },
  );

  app.get(
    "/agents/:name/logs",
    {
      schema: {
        summary: `The newest ${shown} entries of an agent`,
        params: nameParams,
        response: { 200: z.array(logWire) },
      },
    },
    async (request) => {
      const { name } = request.params;
      checkPart("name", name);
      if ((await service.agent(name)) === null) throw unknownAgent(name);
      return (await newestEntries(service, name, shown)).map(withSeverity);
    },
  );

  app.get(
    "/logs",
    { schema: { summary: `The newest ${shown} entries`, response: { 200: z.array(logWire) } } },
    async () => (await newestEntries(service, undefined, shown)).map(withSeverity),
  );

  app.get(
    "/agents/:name/policies",
    {
      schema: {
        summary: "The rules of an agent",
        params: nameParams,
        response: {
          200: z.object({
            allowed: z.array(z.string()),
            blocked: z.array(z.string()),
            requires_review: z.array(z.string()),
          }),
        },
      },
    },
    async (request) => {
      const { name } = request.params;
      checkPart("name", name);
      const rules = await service.rulesOf(name);
      const of = (wanted: RuleType): string[] =>
        rules.flatMap(({ action, rule }) => (rule === wanted ? [action] : [])).toSorted();
      return { allowed: of("ALLOW"), blocked: of("BLOCK"), requires_review: of("REVIEW") };
    },
  );

  app.post(
    "/agents/:name/toggle",
    {
      schema: {
        summary: "Stop an agent, or let it go on",
        params: nameParams,
        body: z.object({ status: z.string() }),
        response: { 200: z.object({ status: z.literal("updated"), new_status: z.string() }) },
      },
    },
    async (request) => {
      const { status } = request.body;
      const { name } = request.params;
      if (status !== "ACTIVE" && status !== "PAUSED")
        throw new HttpError(400, "Status must be ACTIVE or PAUSED");
      checkPart("name", name);
      await setStatus(service, name, status, request.principal);
      return { status: "updated" as const, new_status: status };
    },
  );

  app.get(
    "/approvals/pending",
    {
      schema: {
        summary: "Approvals that wait for a decision",
        description: "The newest 200 of them, newest first; fewer where their arguments are long.",
        response: { 200: z.array(pendingWire) },
      },
    },
    async () => (await service.approvals(pendingFilter)).toReversed().map(approvalToWire),
  );

  app.post(
    "/approvals/:id/decide",
    {
      schema: {
        summary: "Approve or deny",
        description: "Decided once: whoever comes second gets 400, and is told who decided what.",
        params: idParams,
        body: z.object({ decision: z.string() }),
        response: { 200: z.object({ status: z.literal("success"), decision: z.string() }) },
      },
    },
    async (request) => {
      const { decision } = request.body;
      await decide(service, request.params.id, decision, request.principal);
      return { status: "success" as const, decision };
    },
  );
};

function riskLevel(blocks: number): "LOW" | "MEDIUM" | "HIGH" | "CRITICAL" {
  if (blocks === 0) return "LOW";
  if (blocks <= 5) return "MEDIUM";
  return blocks <= 20 ? "HIGH" : "CRITICAL";
}
