import type { Principal } from "../../../client/backend.js";
import { gatewayEventsQuery, resyncEvent, skipEvent } from "../../../client/wire/gateways.js";
import { reasonOf } from "../../../errors.js";
import type { NumberedEvent } from "../../service.js";
import type { App, RouteContext } from "../app.js";
import type { KnownGateways } from "./known-gateways.js";
import { OwnEvents } from "./own-events.js";
import { lastEventId, SseResponse } from "./sse.js";
import { Tail } from "./tail.js";

/** Milliseconds between two looks, besides being told: one that was missed is found out by this. */
const LOOK = 250;
/** Gateways that may share one token. */
const GATEWAYS = 1_024;

/** What gateways hear: kills, approvals, revoked tokens, policies. They confirm it by its number. */
export function gatewayEventRoutes(app: App, context: RouteContext, known: KnownGateways): void {
  const { service, streams, log } = context;
  const own = new OwnEvents(service);
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
          "named `resync` says so: ask for the state of everything, then confirm its id. One named `skip` says nothing but " +
          "its id: up to there, what happened is of other agents than the token's. An event named `end` says why the stream " +
          "ends.",
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
      tell(stream, start, request.principal)
        .catch((thrown: unknown) => {
          log.error({ reason: reasonOf(thrown), gateway }, "the events for a gateway end");
          stream.end("failed");
        })
        .finally(done);
      return reply;
    },
  );

  async function tell(stream: SseResponse, from: number | null, to: Principal): Promise<void> {
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
      await write(stream, events ?? [], to);
      if (events === null) number = null;
      else if (events.length > 0) number = events.at(-1)?.number ?? number;
      else {
        number = Math.max(number, read);
        await tail.grown(number, stream.over);
      }
    }
  }

  /** What is of others is only counted: a gateway confirms the number all the same. */
  async function write(stream: SseResponse, events: readonly NumberedEvent[], to: Principal): Promise<void> {
    let skipped: number | null = null;
    for (const { number, event } of events) {
      const told = await own.isFor(event, to);
      if (told) stream.write(number, null, JSON.stringify(event));
      skipped = told ? null : number;
    }
    if (skipped !== null) stream.write(skipped, skipEvent, "{}");
  }
}
