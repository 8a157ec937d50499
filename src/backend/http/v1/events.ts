import type { LedgerRecord } from "../../../client/backend.js";
import { eventsQuery } from "../../../client/wire/ledger.js";
import { reasonOf } from "../../../errors.js";
import type { RegisterRoutes } from "../app.js";
import { HttpError } from "../errors.js";
import { lastEventId, SseResponse } from "./sse.js";
import { type Numbered, Tail } from "./tail.js";

/** Milliseconds between two looks at the ledger. */
const LOOK = 200;
/** Records read in one go. */
const PAGE = 200;

interface Line extends Numbered {
  readonly record: LedgerRecord;
  readonly text: string;
}

interface Filter {
  readonly agent?: string;
  readonly kinds?: readonly string[];
}

/** The tail of the ledger, for people: what `GET /v1/ledger` answers, as it comes. */
export const eventRoutes: RegisterRoutes = (app, { service, streams, log }) => {
  const tail = new Tail<Line>(
    {
      what: "the ledger",
      newest: () => service.newestRecord(),
      after: async (after) => (await service.records({ after, limit: PAGE })).map(lineOf),
      subscribe: (wake) => service.subscribe(wake),
      interval: LOOK,
    },
    log,
  );

  app.get(
    "/v1/events",
    {
      schema: {
        summary: "Records as they come (SSE)",
        description:
          "Every record has its id as the event's and its JSON as data. `Last-Event-ID` or `after` goes on exactly behind " +
          "that record, however old; without either it begins at the newest. An event named `end` says why the stream ends.",
        querystring: eventsQuery,
      },
    },
    async (request, reply) => {
      const { agent, kind, after } = request.query;
      const from = lastEventId(request, after);
      const { newest, done } = await tail.follow();
      let stream: SseResponse;
      try {
        if (from !== undefined && from > newest) {
          throw new HttpError(409, `The ledger ends at record ${newest}: nothing comes behind ${from}.`);
        }
        stream = SseResponse.open(request, reply, streams);
      } catch (thrown) {
        done();
        throw thrown;
      }
      const filter = {
        ...(agent === undefined ? {} : { agent }),
        ...(kind === undefined ? {} : { kinds: kind.split(",") }),
      };
      tell(stream, from ?? newest, filter)
        .catch((thrown: unknown) => {
          log.error({ reason: reasonOf(thrown) }, "a stream of records ends");
          stream.end("failed");
        })
        .finally(done);
      return reply;
    },
  );

  async function tell(stream: SseResponse, from: number, filter: Filter): Promise<void> {
    let position = from;
    while (await stream.ready()) {
      // Before it is read: what is read holds everything up to here.
      const read = tail.position;
      const kept = tail.since(position)?.slice(0, PAGE);
      const lines = kept ?? (await service.records({ ...filter, after: position, limit: PAGE })).map(lineOf);
      for (const { number, record, text } of lines) {
        if (matches(record, filter)) stream.write(number, null, text);
      }
      const last = lines.at(-1)?.number ?? position;
      // A whole page may have more behind it; a short one was the rest.
      position = lines.length < PAGE ? Math.max(last, read) : last;
      if (lines.length === 0) await tail.grown(position, stream.over);
    }
  }
};

function lineOf(record: LedgerRecord): Line {
  return { number: record.id, record, text: JSON.stringify(record) };
}

function matches({ agent, kind }: LedgerRecord, filter: Filter): boolean {
  if (filter.agent !== undefined && agent !== filter.agent) return false;
  return filter.kinds === undefined || filter.kinds.includes(kind);
}
