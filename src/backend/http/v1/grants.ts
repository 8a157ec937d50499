import { noQuery, nothingWire } from "../../../client/wire/fields.js";
import {
  grantParams,
  grantsAnswer,
  grantsQuery,
  grantToWire,
  revokeGrantRequest,
} from "../../../client/wire/grants.js";
import type { RegisterRoutes } from "../app.js";

/** Calls that approvers have let through ahead of their coming. */
export const grantRoutes: RegisterRoutes = (app, { service }) => {
  app.get(
    "/v1/grants",
    {
      schema: {
        summary: "Grants",
        description:
          "Newest first, at most 1,000: those that are active, and with `all=true` also those that ended.",
        querystring: grantsQuery,
        response: { 200: grantsAnswer },
      },
    },
    async (request) => {
      const grants = await service.grants(request.query.all === "true");
      return { grants: grants.map(grantToWire) };
    },
  );

  app.post(
    "/v1/grants/:id/revoke",
    {
      schema: {
        summary: "Revoke a grant",
        description: "From here on it lets no call through. One that has ended already stays as it is.",
        params: grantParams,
        querystring: noQuery,
        body: revokeGrantRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      await service.revokeGrant(request.params.id, request.principal, request.body?.reason ?? "");
      return {};
    },
  );
};
