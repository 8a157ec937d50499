import {
  acceptRequest,
  filterFromWire,
  pinnedAnswer,
  pinnedToWire,
  sightedAnswer,
  sightedToWire,
  sightingFromWire,
  sightingRequest,
  toolsQuery,
} from "../../../client/wire/tools.js";
import { bodyLimits, type RegisterRoutes } from "../app.js";
import { requireOwnAgent } from "../own-agent.js";

/** What servers offer, as it was pinned: gateways tell of it, people accept it. */
export const toolRoutes: RegisterRoutes = (app, { service }) => {
  app.post(
    "/v1/tools/sightings",
    {
      bodyLimit: bodyLimits.decision,
      schema: {
        summary: "Tell what a server offers",
        description:
          "A gateway has read the whole list of a server. What is new is pinned, what differs from what was pinned counts " +
          "as changed until somebody accepts it. A definition is sent with its text where an answer names it as missing; " +
          "its hash is checked.",
        body: sightingRequest,
        response: { 200: sightedAnswer },
      },
    },
    async (request) => {
      requireOwnAgent(request.principal, request.body.agent);
      return sightedToWire(await service.sight(sightingFromWire(request.body)));
    },
  );

  app.get(
    "/v1/tools",
    {
      schema: {
        summary: "What servers offer, as it is pinned",
        description: "The tool with the empty name stands for the instructions of its server.",
        querystring: toolsQuery,
        response: { 200: pinnedAnswer },
      },
    },
    async (request) => ({
      tools: (await service.pinnedTools(filterFromWire(request.query))).map(pinnedToWire),
    }),
  );

  app.post(
    "/v1/tools/accept",
    {
      bodyLimit: bodyLimits.decision,
      schema: {
        summary: "Accept tools as they are now",
        description:
          "Of those that the filter names, only what is among `definitions`: what the person has seen. Answers with those " +
          "that are accepted by this.",
        body: acceptRequest,
        response: { 200: pinnedAnswer },
      },
    },
    async (request) => {
      const { definitions, ...filter } = request.body;
      const accepted = await service.acceptTools(filterFromWire(filter), definitions, request.principal);
      return { tools: accepted.map(pinnedToWire) };
    },
  );
};
