import { z } from "zod";
import { nameField } from "../../../client/wire/fields.js";
import type { RegisterRoutes } from "../app.js";
import { requireOwnAgent } from "../own-agent.js";
import { agentAndActionIn, agentIn } from "./path-names.js";
import { setStatus } from "./switch.js";
import { actionField, agentStatus, done, ok, ownerField, ruleField } from "./wire.js";

const agentParams = z.object({ agent_name: z.string() });
const callParams = z.object({ agent_name: z.string(), action: z.string() });

/** `/sdk`: what an agent says of itself, and asks about itself. */
export const sdkAgentRoutes: RegisterRoutes = (app, { service }) => {
  app.post(
    "/sdk/init",
    {
      schema: {
        summary: "Say hello",
        description: "Does nothing: what was recorded stays to be seen.",
        response: { 200: ok },
      },
    },
    async () => done,
  );

  app.post(
    "/sdk/register-agent",
    {
      schema: {
        summary: "Register an agent",
        description: "A killed agent stays killed.",
        body: z.object({ name: nameField, owner: ownerField.default("") }),
        response: { 200: ok },
      },
    },
    async (request) => {
      const { name, owner } = request.body;
      requireOwnAgent(request.principal, name);
      await service.register(name, owner);
      return done;
    },
  );

  app.post(
    "/sdk/register-policy",
    {
      schema: {
        summary: "Declare a rule",
        description:
          "BLOCK and REVIEW hold; ALLOW only where an admin or a trusted token says it, and never over a policy file.",
        body: z.object({ agent_name: nameField, action: actionField, rule_type: ruleField }),
        response: { 200: ok },
      },
    },
    async (request) => {
      const { agent_name: agent, action, rule_type: rule } = request.body;
      const by = request.principal;
      requireOwnAgent(by, agent);
      const trusted = by.role === "admin" || by.trustDeclared === true;
      await service.declare({ agent, action, rule, trusted }, by);
      return done;
    },
  );

  app.get(
    "/sdk/agent-status/:name",
    {
      schema: {
        summary: "Status of an agent",
        params: z.object({ name: z.string() }),
        response: { 200: z.object({ status: z.string().nullable() }) },
      },
    },
    async (request) => {
      const name = await agentIn(request, "/sdk/agent-status/", service);
      requireOwnAgent(request.principal, name);
      const agent = await service.agent(name);
      return { status: agent === null ? null : agentStatus(agent) };
    },
  );

  app.get(
    "/sdk/policy/:agent_name/:action",
    {
      schema: {
        summary: "The rule for an action",
        description: "Null where no rule matches. To a killed agent everything is blocked.",
        params: callParams,
        response: { 200: z.object({ rule_type: ruleField.nullable() }) },
      },
    },
    async (request) => {
      const { agent, action } = await agentAndActionIn(request, "/sdk/policy/", service);
      requireOwnAgent(request.principal, agent);
      return { rule_type: await service.ruleOf(agent, action) };
    },
  );

  app.get(
    "/sdk/policies/:agent_name",
    {
      schema: {
        summary: "The rules of an agent",
        params: agentParams,
        response: {
          200: z.object({ policies: z.array(z.object({ action: z.string(), rule_type: ruleField })) }),
        },
      },
    },
    async (request) => {
      const agent = await agentIn(request, "/sdk/policies/", service);
      requireOwnAgent(request.principal, agent);
      const rules = await service.rulesOf(agent);
      return { policies: rules.map(({ action, rule }) => ({ action, rule_type: rule })) };
    },
  );

  app.post(
    "/sdk/update-status",
    {
      schema: {
        summary: "Set the status of an agent",
        description:
          "PAUSED kills and ACTIVE revives, for admins. An agent says of itself that it is ACTIVE or COMPLETED.",
        body: z.object({ name: nameField, status: z.string() }),
        response: { 200: ok },
      },
    },
    async (request) => {
      const { name, status } = request.body;
      requireOwnAgent(request.principal, name);
      await setStatus(service, name, status, request.principal);
      return done;
    },
  );
};
