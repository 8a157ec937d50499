import { noQuery, nothingWire } from "../../../client/wire/fields.js";
import {
  enlistAnswer,
  enlistRequest,
  gatewaysAnswer,
  gatewayToWire,
  heardRequest,
  heartbeatAnswer,
  heartbeatRequest,
  httpHeartbeat,
  httpLease,
  leaveRequest,
} from "../../../client/wire/gateways.js";
import type { App, RouteContext } from "../app.js";
import { HttpError } from "../errors.js";
import type { KnownGateways } from "./known-gateways.js";

/** Gateways come, live and go. What they hear is in `gateway-events.ts`. */
export function gatewayRoutes(app: App, { service }: RouteContext, known: KnownGateways): void {
  app.post(
    "/v1/gateways",
    {
      schema: {
        summary: "Register a gateway",
        description:
          "It is then alive: kills wait for it. It gives a sign of life every `heartbeat_ms`, listens to its events, and " +
          "belongs to the principal that registered it.",
        body: enlistRequest,
        response: { 200: enlistAnswer },
      },
    },
    async (request) => {
      const at = performance.now();
      const { id, event } = await service.enlist(request.body, request.principal);
      known.remember(id, request.principal, at);
      return { id, event, lease_ms: httpLease, heartbeat_ms: httpHeartbeat };
    },
  );

  app.post(
    "/v1/gateways/heartbeat",
    {
      schema: {
        summary: "A gateway's sign of life",
        body: heartbeatRequest,
        response: { 200: heartbeatAnswer },
      },
    },
    async (request) => {
      const { gateway, mark } = request.body;
      return { known: await known.beat(gateway, mark, request.principal) };
    },
  );

  app.post(
    "/v1/gateways/heard",
    {
      schema: {
        summary: "Confirm events",
        description:
          "Everything up to this event has been acted upon: of a kill, that nothing more will be forwarded.",
        body: heardRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      const { gateway, event } = request.body;
      // Whoever confirms what has not happened yet would have confirmed the next kill.
      const newest = await service.newestEvent();
      if (event > newest) {
        throw new HttpError(422, [
          { loc: ["body", "event"], msg: `The newest event is ${newest}.`, type: "too_big" },
        ]);
      }
      await service.heard(gateway, event, request.principal);
      return {};
    },
  );

  app.post(
    "/v1/gateways/leave",
    {
      schema: {
        summary: "A gateway says good-bye",
        description: "All of its calls have ended. Kills no longer wait for it.",
        body: leaveRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      known.forget(request.body.gateway, request.principal);
      await service.dismiss(request.body.gateway, request.principal);
      return {};
    },
  );

  app.get(
    "/v1/gateways",
    {
      schema: {
        summary: "The gateways that are alive",
        querystring: noQuery,
        response: { 200: gatewaysAnswer },
      },
    },
    async () => ({ gateways: (await service.gateways()).map(gatewayToWire) }),
  );
}
