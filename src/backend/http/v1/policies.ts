import { noQuery } from "../../../client/wire/fields.js";
import {
  policyAnswer,
  policyToWire,
  policyWire,
  publishRequest,
  revisionsAnswer,
  revisionToWire,
} from "../../../client/wire/policies.js";
import { bodyLimits, type RegisterRoutes } from "../app.js";

/** Policies in the store: immutable revisions, one of them in force. */
export const policyRoutes: RegisterRoutes = (app, { service }) => {
  app.get(
    "/v1/policies",
    {
      schema: {
        summary: "The revision in force, with its documents",
        querystring: noQuery,
        response: { 200: policyAnswer },
      },
    },
    async () => {
      const policy = await service.policy();
      return { policy: policy === null ? null : policyToWire(policy) };
    },
  );

  app.get(
    "/v1/policies/revisions",
    {
      schema: {
        summary: "All revisions, newest first",
        querystring: noQuery,
        response: { 200: revisionsAnswer },
      },
    },
    async () => ({ revisions: (await service.revisions()).map(revisionToWire) }),
  );

  app.put(
    "/v1/policies",
    {
      bodyLimit: bodyLimits.decision,
      schema: {
        summary: "Put a revision in force",
        description: "For every process on the store. The same documents again change nothing.",
        body: publishRequest,
        response: { 200: policyWire },
      },
    },
    async (request) => policyToWire(await service.publish(request.body.documents, request.principal)),
  );
};
