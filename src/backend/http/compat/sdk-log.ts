import { z } from "zod";
import { nameField, numberInQuery } from "../../../client/wire/fields.js";
import type { RegisterRoutes } from "../app.js";
import { requireOwnAgent } from "../own-agent.js";
import { entryWire, newestEntries } from "./audit.js";
import { actionField, done, ok, statusField, textField } from "./wire.js";

/** Entries of one answer: an unbounded one is a way to fill the memory (threat Z26). */
const most = 1_000;
const usual = 10;

/** `/sdk`: what an agent reports, and the audit log. */
export const sdkLogRoutes: RegisterRoutes = (app, { service }) => {
  app.post(
    "/sdk/log",
    {
      schema: {
        summary: "Report what an agent did",
        description: "Recorded as a report, by whom it is from: it never counts as a decision.",
        body: z.object({
          agent_name: nameField,
          action: actionField,
          status: statusField,
          details: textField.default(""),
        }),
        response: { 200: ok },
      },
    },
    async (request) => {
      const { agent_name: agent, action, status, details } = request.body;
      requireOwnAgent(request.principal, agent);
      await service.report({ agent, action, status, details }, request.principal);
      return done;
    },
  );

  app.get(
    "/sdk/audit-log",
    {
      schema: {
        summary: "The audit log",
        description: "The newest `limit`, oldest of them first.",
        querystring: z.object({
          agent_name: z.union([z.literal(""), nameField]).optional(),
          limit: numberInQuery(1, most).optional(),
        }),
        response: { 200: z.object({ entries: z.array(entryWire) }) },
      },
    },
    async (request) => {
      const { agent_name: agent = "", limit = usual } = request.query;
      const newest = await newestEntries(service, agent === "" ? undefined : agent, limit);
      return { entries: newest.toReversed() };
    },
  );
};
