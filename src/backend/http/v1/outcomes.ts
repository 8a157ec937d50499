import type { Note } from "../../../client/backend.js";
import { nothingWire } from "../../../client/wire/fields.js";
import { noteRequest, outcomeFromWire, outcomesRequest } from "../../../client/wire/outcomes.js";
import { AegisError } from "../../../errors.js";
import { bodyLimits, type RegisterRoutes } from "../app.js";
import { requireOwnAgent } from "../own-agent.js";
import { callerOf, speakerOf } from "./caller.js";

/** What a gateway of one agent notes: refused frames, and what its command line allows (`--allow-home`). */
const ofBound: ReadonlySet<Note["kind"]> = new Set(["refused", "gateway"]);

/** What became of calls, and what else belongs in the ledger. */
export const outcomeRoutes: RegisterRoutes = (app, { service }) => {
  app.post(
    "/v1/outcomes",
    {
      bodyLimit: bodyLimits.decision,
      schema: {
        summary: "Record how calls ended",
        description:
          "Durable when it is answered. A call ends once: what is told again, or of a call that was not decided for this " +
          "agent and principal, changes nothing.",
        body: outcomesRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      // All of them first: a batch with one that is not the caller's to tell is refused whole.
      const outcomes = request.body.outcomes.map((outcome) =>
        outcomeFromWire(outcome, callerOf(request.principal, outcome.agent, outcome.principal)),
      );
      await service.conclude(outcomes);
      return {};
    },
  );

  app.post(
    "/v1/notes",
    {
      schema: {
        summary: "Record what is not a call",
        description:
          "A refused frame, a refused login of a client, what happened to a server. A token that is bound to an agent " +
          "writes `refused` and `gateway` only, about that agent.",
        body: noteRequest,
        response: { 200: nothingWire },
      },
    },
    async (request) => {
      const { kind, server, action, reason } = request.body;
      const { principal: by } = request;
      // An agent that holds its token could forge what its gateway, or a door, says of others (threat L14).
      if (by.agent !== null && !ofBound.has(kind)) {
        throw new AegisError("not_permitted", `The token is bound to an agent, and cannot note ${kind}.`, {
          hint: "Use a token of role agent that names none.",
        });
      }
      const agent = request.body.agent ?? by.agent;
      if (agent !== null) requireOwnAgent(by, agent);
      const principal = speakerOf(by, request.body.principal);
      await service.note({
        kind,
        ...(agent === null ? {} : { agent }),
        principal,
        ...(server === undefined ? {} : { server }),
        ...(action === undefined ? {} : { action }),
        reason,
      });
      return {};
    },
  );
};
