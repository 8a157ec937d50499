import type { FastifySchema, RouteOptions } from "fastify";
import type { Access } from "./permissions.js";

const reasons: Record<string, string> = {
  400: "Refused: the values do not go together",
  401: "No credential, or one that proves nobody",
  403: "The role, the agent, or the page it comes from may not",
  422: "The request does not fit its schema",
  429: "Too many wrong credentials from this address",
  503: "The backend cannot do this now",
};

/** Adds what holds for every route: who may use it, and what a refusal looks like. */
export function describeRoute(
  described: { readonly schema: FastifySchema; readonly url: string },
  route: RouteOptions,
): { schema: FastifySchema; url: string } {
  const { schema, url } = described;
  const access = route.config?.access;
  if (access === undefined || schema?.hide === true) return { schema: { ...schema, hide: true }, url };
  const refusals = access === "public" ? [] : ["401", "403", "429", "503"];
  if (schema.body !== undefined || schema.params !== undefined || schema.querystring !== undefined)
    refusals.push("422");
  const responses: Record<string, unknown> = { ...(schema.response as Record<string, unknown> | undefined) };
  if (!Object.keys(responses).some((status) => status.startsWith("2"))) responses["200"] = streamed(schema);
  for (const status of refusals) responses[status] ??= refusal(reasons[status] ?? "");
  return {
    schema: {
      ...schema,
      tags: schema.tags ?? [tagOf(url)],
      description: [schema.description, whoMay(access)].filter((text) => text !== undefined).join("\n\n"),
      security: access === "public" ? [] : [{ bearer: [] }, { basic: [] }],
      response: responses,
    },
    url,
  };
}

function whoMay(access: Access): string {
  if (access === "public") return "Open to everybody.";
  const callers = access.map((caller) =>
    caller === "gateway" ? "agent (with a token that names none)" : caller,
  );
  return `Roles: ${callers.join(", ")}.`;
}

function tagOf(url: string): string {
  if (url === "/v1" || url.startsWith("/v1/")) return url.split("/")[2] ?? "v1";
  if (url.startsWith("/sdk/")) return "sdk";
  return /^\/(healthz|readyz|metrics|openapi)/.test(url) ? "server" : "dashboard";
}

/** What is written bit by bit has no schema that makes it: a stream of events, unless the route says what else. */
function streamed(schema: FastifySchema & { readonly produces?: readonly string[] }): unknown {
  const types = schema.produces ?? ["text/event-stream"];
  return {
    description: "Written as it comes",
    content: Object.fromEntries(types.map((type) => [type, { schema: { type: "string" } }])),
  };
}

function refusal(description: string): unknown {
  return {
    description,
    content: { "application/json": { schema: { $ref: "#/components/schemas/Refusal" } } },
  };
}
