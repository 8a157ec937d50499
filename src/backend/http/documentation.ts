import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { jsonSchemaTransform } from "fastify-type-provider-zod";
import { z } from "zod";
import { version } from "../../version.js";
import type { App } from "./app.js";
import { describeRoute } from "./describe-route.js";
import { errorBody } from "./errors.js";

/** The page brings all it needs along: nothing inline but styles that its script sets, nothing from elsewhere. */
const pagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Collects the routes that are registered from now on: the document is made of the schemas that validate. */
export async function registerDocumentation(app: App): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Aegis",
        version,
        description:
          "Decides, records and holds the tool calls of agents. Every route says which roles may use it.",
      },
      components: {
        schemas: { Refusal: z.toJSONSchema(errorBody) as Record<string, unknown> },
        securitySchemes: {
          bearer: {
            type: "http",
            scheme: "bearer",
            description: "A token of Aegis, or a JWT of the OIDC issuer",
          },
          basic: {
            type: "http",
            scheme: "basic",
            description: "The token is the password; the user name says nothing",
          },
        },
      },
    },
    transform: (route) => describeRoute(jsonSchemaTransform(route), route.route),
  });
}

/** `/openapi.json`, and the page at `/docs` that shows it. */
export async function documentationRoutes(app: App): Promise<void> {
  app.get(
    "/openapi.json",
    {
      schema: {
        summary: "This document",
        response: { 200: z.record(z.string(), z.unknown()) },
      },
    },
    async (_request, reply) =>
      reply
        .type("application/json; charset=utf-8")
        .serializer(JSON.stringify)
        .send({ ...app.swagger() }),
  );
  await app.register(swaggerUi, {
    routePrefix: "/docs",
    staticCSP: pagePolicy,
    uiConfig: { validatorUrl: null, deepLinking: true },
    theme: { title: "Aegis API" },
  });
}
