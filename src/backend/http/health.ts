import { z } from "zod";
import { reasonOf } from "../../errors.js";
import type { RegisterRoutes } from "./app.js";
import { withDeadline } from "./deadline.js";
import { errorBody, HttpError } from "./errors.js";

/** Milliseconds in which the store answers, or is not ready. */
const patience = 1_000;

/** Milliseconds an answer of the store counts: these routes are open to everybody. */
const remembered = 200;

/** `/healthz` and `/readyz`, for whoever restarts and whoever balances; `/metrics`. */
export const healthRoutes: RegisterRoutes = (app, { service, metrics, log }) => {
  app.get(
    "/healthz",
    {
      schema: {
        summary: "The process lives",
        response: { 200: z.object({ status: z.literal("ok") }) },
      },
    },
    async () => ({ status: "ok" as const }),
  );

  let asked: { readonly answer: Promise<number>; readonly until: number } | null = null;
  const head = (): Promise<number> => {
    const now = performance.now();
    if (asked === null || now > asked.until) {
      const answer = withDeadline(service.newestRecord(), patience);
      answer.catch((thrown: unknown) => log.error({ reason: reasonOf(thrown) }, "the store is not ready"));
      asked = { answer, until: now + remembered };
    }
    return asked.answer;
  };
  app.get(
    "/readyz",
    {
      schema: {
        summary: "The store answers: calls can be decided",
        response: { 200: z.object({ status: z.literal("ready") }), 503: errorBody },
      },
    },
    async () => {
      try {
        await head();
        return { status: "ready" as const };
      } catch {
        throw new HttpError(503, "The store does not answer.");
      }
    },
  );

  app.get(
    "/metrics",
    {
      schema: {
        summary: "Figures, in Prometheus' text format",
        response: { 200: { content: { "text/plain": { schema: z.string() } } } },
      },
    },
    async (_request, reply) => {
      reply.header("content-type", metrics.contentType).serializer(String);
      return metrics.text();
    },
  );
};
