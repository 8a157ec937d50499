import { gatewayEventsQuery, resyncEvent } from "../../../client/wire/gateways.js";
import { reasonOf } from "../../../errors.js";
import type { NumberedEvent } from "../../service.js";
import type { App, RouteContext } from "../app.js";
import type { KnownGateways } from "./known-gateways.js";
import { lastEventId, SseResponse } from "./sse.js";
import { Tail } from "./tail.js";

/** Milliseconds between two looks, besides being told: one that was missed is found out by this. */
const LOOK = 250;
/** Gateways that may share one token. */
const GATEWAYS = 1_024;

/** What gateways hear: kills, approvals, revoked tokens, policies. They confirm it by its number. */
export function gatewayEventRoutes(app: App, context: RouteContext, known: KnownGateways): void {
  const { service, streams, log } = context;
  const tail = new Tail<NumberedEvent>(
    {
      what: "the events for gateways",
      newest: () => service.newestEvent(),
      after: (number) => service.eventsAfter(number),
      subscribe: (wake) => service.subscribe(wake),
      interval: LOOK,
    },
    log,
  );

  app.get(
    "/v1/gateways/events",
    {
      schema: {
        summary: "What a gateway hears (SSE)",
        description:
          "Every event has its number as id and its JSON as data. Where events that were missed are forgotten, an event " +
          "named `resync` says so: ask for the state of everything, then confirm its id. An event named `end` says why the " +
          "stream ends.",
        querystring: gatewayEventsQuery,
      },
    },
    async (request, reply) => {
      const { gateway, after } = request.query;
      const from = lastEventId(request, after);
      await known.require(gateway, request.principal);
      const { newest, done } = await tail.follow();
      let stream: SseResponse;
      try {
        stream = SseResponse.open(request, reply, streams, { most: GATEWAYS });
      } catch (thrown) {
        done();
        throw thrown;
      }
      // One from before the store was replaced: nothing it knows is certain.
      const start = from === undefined || from > newest ? null : from;
      tell(stream, start)
        .catch((thrown: unknown) => {
          log.error({ reason: reasonOf(thrown), gateway }, "the events for a gateway end");
          stream.end("failed");
        })
        .finally(done);
      return reply;
    },
  );

  async function tell(stream: SseResponse, from: number | null): Promise<void> {
    let number = from;
    while (await stream.ready()) {
      if (number === null) {
        number = await service.newestEvent();
        stream.write(number, resyncEvent, "{}");
      }
      // Before it is read: nothing that is told comes up to here where nothing is found.
      const read = tail.position;
      const events: readonly NumberedEvent[] | null =
        tail.since(number) ?? (await service.eventsAfter(number));
      for (const { number: id, event } of events ?? []) stream.write(id, null, JSON.stringify(event));
      if (events === null) number = null;
      else if (events.length > 0) number = events.at(-1)?.number ?? number;
      else {
        number = Math.max(number, read);
        await tail.grown(number, stream.over);
      }
    }
  }
}
