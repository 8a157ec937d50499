/*
 * The HTTP server of `aegis backend`. How to add routes:
 *
 * 1. Add a row for each to `permissions.ts` (`"POST /v1/kill": ["admin"]`): who may use it stands there and nowhere else.
 * 2. Write `export const someRoutes: RegisterRoutes = (app, { service, metrics, streams, settings, log }) => { app.post("/v1/kill",
 *    { schema: { summary, body, params, querystring, response: { 200: … } } }, async (request) => …) }` with zod schemas
 *    (z.strictObject for bodies and queries); the types of `request.body` follow from them, the document too.
 * 3. Add it to its section in `routes.ts`. The start fails for a route without a row, and for a row without a route.
 * 4. `request.principal` is who asks: authenticated, and of a role the row names. A route that is about an agent calls
 *    `requireOwnAgent(request.principal, agent)` (`own-agent.ts`): a token that names its agent speaks for no other.
 * 5. Refuse by throwing: an AegisError (`errors.ts` has its status), or `new HttpError(400, "why")`. Never send errors.
 * 6. A body over 1 MiB: `bodyLimit: bodyLimits.decision` beside `schema`.
 * 7. A response that stays open: `const release = streams.hold(request, end)` before its first byte; `end()` is called at
 *    shutdown and when the credential ends, `release()` when the client is gone. Then `reply.hijack()`, and first write
 *    `reply.raw.writeHead(200, { ...(reply.getHeaders() as OutgoingHttpHeaders), "content-type": "text/event-stream" })`.
 * 8. Count a verdict: `metrics.decisions.inc({ decision: verdict.decision })`. /v1 errors get `code` and `hint` by their path.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import fastify, { type FastifyBaseLogger, type FastifyInstance, type RawServerDefault } from "fastify";
import { serializerCompiler, type ZodTypeProvider } from "fastify-type-provider-zod";
import type { Principal } from "../../client/backend.js";
import type { Logger } from "../../log.js";
import type { Service } from "../service.js";
import { Authentication, type Credential } from "./auth.js";
import { spellNames } from "./compat/path-names.js";
import { dashboardFiles } from "./dashboard-files.js";
import { documentationRoutes, registerDocumentation } from "./documentation.js";
import { answerError, answerUnroutable } from "./errors.js";
import { healthRoutes } from "./health.js";
import { answerCors, foreign, type Hosts } from "./hosts.js";
import { readLargeBodiesInTurn } from "./large-bodies.js";
import { Metrics } from "./metrics.js";
import { answerNotFound } from "./not-found.js";
import { PageSessions } from "./page-sessions.js";
import { type Access, isAllowed, type Section } from "./permissions.js";
import { securityHeaders, transportSecurity } from "./security-headers.js";
import { createServer, type Tls } from "./server.js";
import type { Settings } from "./settings.js";
import { Streams } from "./streams.js";
import { TableCheck } from "./table-check.js";
import { validatorCompiler } from "./validation.js";

/** Bytes of a body. */
export const bodyLimits = { decision: 16 * 1024 * 1024, other: 1024 * 1024 } as const;

/** A Fastify instance whose routes are typed by their zod schemas. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** What handlers work with. */
export interface RouteContext {
  readonly service: Service;
  readonly authentication: Authentication;
  readonly metrics: Metrics;
  readonly streams: Streams;
  readonly sessions: PageSessions;
  readonly hosts: Hosts;
  readonly settings: Settings;
  readonly log: Logger;
}

export type RegisterRoutes = (app: App, context: RouteContext) => void | Promise<void>;

export interface AppOptions {
  readonly service: Service;
  readonly log: Logger;
  readonly settings: Settings;
  readonly hosts: Hosts;
  /** Null speaks plain HTTP. */
  readonly tls: Tls | null;
  /** Folder of the built dashboard, served at `/`; null serves none. */
  readonly pages: string | null;
  /** Who answers, by section of the table; `routes.ts` has all of them. */
  readonly routes: Partial<Record<Section, RegisterRoutes>>;
}

declare module "fastify" {
  interface FastifyRequest {
    /** Who asks. Throws on a public route, where nobody needs to be. */
    readonly principal: Principal;
    /** What proved the principal; null on a public route. */
    credential: Credential | null;
  }
  interface FastifyContextConfig {
    access?: Access;
    section?: Section;
  }
}

/**
 * The server, ready to listen. Closing it ends its streams; the service stays open.
 *
 * @throws Error where the routes and `permissions.ts` do not agree
 */
export async function buildApp(options: AppOptions): Promise<App> {
  const { service, log, settings, hosts, tls } = options;
  const streams = new Streams(log);
  const metrics = new Metrics(service, streams, log);
  const authentication = new Authentication(service, settings, metrics, log);
  const secure = tls !== null || hosts.publicOrigin?.startsWith("https:") === true;
  const sessions = new PageSessions(service, secure);
  const app: App = fastify({
    serverFactory: (handler) => createServer(handler, tls),
    // Our own log has what matters, without a child logger for every request.
    logger: false,
    bodyLimit: bodyLimits.other,
    routerOptions: { maxParamLength: 1024 },
    rewriteUrl: (request) => spellNames(request.url ?? "/"),
    onProtoPoisoning: "error",
    onConstructorPoisoning: "error",
    // A HEAD on a stream would never end, and nobody here needs one.
    exposeHeadRoutes: false,
    // What comes while it stops is answered as ever, on connections that end with the answer.
    return503OnClosing: false,
    // Connections in use get a moment to finish: see listen.ts.
    forceCloseConnections: "idle",
    frameworkErrors: answerUnroutable,
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  // A form of another site can send text/plain without asking first (threat T9).
  app.removeContentTypeParser("text/plain");
  app.setErrorHandler((thrown, request, reply) => answerError(thrown, request, reply, { log, metrics }));

  app.decorateRequest("credential", null);
  app.decorateRequest("principal", {
    getter() {
      if (this.credential === null) throw new Error(`${this.url} is public: it has no principal`);
      return this.credential.principal;
    },
  });
  const always = tls === null ? securityHeaders : { ...securityHeaders, ...transportSecurity };
  app.addHook("onRequest", async (request, reply) => {
    reply.headers(always);
    const problem = foreign(request, hosts);
    if (problem !== null) authentication.refuseForeign(request, problem);
    if (answerCors(request, reply, hosts)) return reply;
    const { access, section } = request.routeOptions.config;
    if (access === "public") return;
    // A page takes no header for it, and nothing else takes a cookie: what a browser sends by itself decides nothing.
    request.credential = await (section === "people" ? sessions : authentication).prove(request);
    if (access !== undefined && !isAllowed(request.principal, access))
      authentication.refuseRole(request, access);
  });
  readLargeBodiesInTurn(app);
  app.addHook("onResponse", async (request, reply) => metrics.answered(request, reply));

  const table = new TableCheck(app);
  const context: RouteContext = {
    service,
    authentication,
    metrics,
    streams,
    sessions,
    hosts,
    settings,
    log,
  };
  await registerDocumentation(app);
  await table.register("core", async (scope) => {
    await healthRoutes(scope, context);
    await documentationRoutes(scope);
  });
  for (const name of ["v1", "compat", "people"] as const) {
    const register = options.routes[name];
    if (register !== undefined) await table.register(name, (scope) => register(scope, context));
  }
  if (options.pages !== null) {
    const register = dashboardFiles(options.pages);
    await table.register("pages", (scope) => register(scope, context));
  } else {
    await table.register("front", (scope) => {
      scope.get("/", { schema: { hide: true } }, (request, reply) => {
        // The router reads the target `*` as this path.
        if (request.raw.url?.startsWith("/") !== true) return reply.callNotFound();
        return reply.redirect("/approvals", 303);
      });
    });
  }
  app.setNotFoundHandler(answerNotFound(table.routes));

  const unsubscribe = service.subscribe((event) => {
    if (event.kind === "token") streams.endToken(event.id);
    return event.kind === "resync" ? streams.endUnproved() : undefined;
  });
  app.addHook("preClose", async () => streams.endAll());
  app.addHook("onClose", async () => {
    unsubscribe();
    metrics.stop();
  });
  try {
    await app.ready();
    table.check();
    return app;
  } catch (thrown) {
    await app.close();
    throw thrown;
  }
}
