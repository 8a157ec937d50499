import { noBody, noQuery, nothingWire } from "../../../client/wire/fields.js";
import {
  newTokenAnswer,
  newTokenFromWire,
  newTokenRequest,
  tokenParams,
  tokensAnswer,
  tokenToWire,
} from "../../../client/wire/tokens.js";
import type { RegisterRoutes } from "../app.js";

/** Credentials. */
export const tokenRoutes: RegisterRoutes = (app, { service }) => {
  app.get(
    "/v1/tokens",
    {
      schema: {
        summary: "All tokens, without their secrets",
        querystring: noQuery,
        response: { 200: tokensAnswer },
      },
    },
    async () => ({ tokens: (await service.tokens()).map(tokenToWire) }),
  );

  app.post(
    "/v1/tokens",
    {
      schema: {
        summary: "Make a token",
        description: "The answer is the only place where it is ever shown.",
        body: newTokenRequest,
        response: { 200: newTokenAnswer },
      },
    },
    async (request) => service.createToken(newTokenFromWire(request.body), request.principal),
  );

  app.post(
    "/v1/tokens/:id/revoke",
    {
      schema: {
        summary: "Revoke a token",
        description: "What was opened with it ends within a second.",
        params: tokenParams,
        body: noBody,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      await service.revokeToken(request.params.id, request.principal);
      return {};
    },
  );
};
