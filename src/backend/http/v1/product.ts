import { noQuery } from "../../../client/wire/fields.js";
import {
  authenticateAnswer,
  authenticateRequest,
  principalToWire,
  principalWire,
} from "../../../client/wire/principals.js";
import { productWire, statsWire } from "../../../client/wire/product.js";
import { version } from "../../../version.js";
import type { RegisterRoutes } from "../app.js";

/** What this is, and who asks. */
export const productRoutes: RegisterRoutes = (app, { service, authentication }) => {
  app.get(
    "/v1",
    {
      schema: {
        summary: "What answers here",
        description: "How a client tells this API from the original one. Needs no credential.",
        querystring: noQuery,
        response: { 200: productWire },
      },
    },
    async () => ({ product: "aegis" as const, version, api: 1 as const }),
  );

  app.get(
    "/v1/whoami",
    {
      schema: {
        summary: "Who the credential stands for",
        querystring: noQuery,
        response: { 200: principalWire },
      },
    },
    async (request) => principalToWire(request.principal),
  );

  app.post(
    "/v1/authenticate",
    {
      schema: {
        summary: "Who a client of the gateway is",
        description:
          "For a gateway that serves many: its own token is bound to no agent, those of its clients may be. A token of ours, " +
          "or a JWT of the issuer.",
        body: authenticateRequest,
        response: { 200: authenticateAnswer },
      },
    },
    async (request) => {
      const principal = await authentication.identify(request.body.token);
      return { principal: principal === null ? null : principalToWire(principal) };
    },
  );

  app.get(
    "/v1/stats",
    { schema: { summary: "Numbers of this moment", querystring: noQuery, response: { 200: statsWire } } },
    async () => {
      const { agents, activeAgents, blocks, pendingApprovals } = await service.stats();
      return { agents, active_agents: activeAgents, blocks, pending_approvals: pendingApprovals };
    },
  );
};
