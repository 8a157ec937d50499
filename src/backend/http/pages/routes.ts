import cookie from "@fastify/cookie";
import formbody from "@fastify/formbody";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Approval, DecisionOptions } from "../../../client/backend.js";
import { AegisError } from "../../../errors.js";
import { unknownApproval } from "../../approvals/rows.js";
import type { Service } from "../../service.js";
import type { RegisterRoutes, RouteContext } from "../app.js";
import { answerTo, HttpError } from "../errors.js";
import { foreignForm } from "../hosts.js";
import { isFormToken } from "../page-sessions.js";
import { approvalPage } from "./approval-page.js";
import {
  decisionBody,
  listQuery,
  pageParams,
  returnPath,
  signInBody,
  signInQuery,
  signOutBody,
} from "./forms.js";
import { html } from "./html.js";
import { escapedJson } from "./json-text.js";
import type { Viewer } from "./layout.js";
import { listPage } from "./list-page.js";
import { doorstepPage, errorPage, signInPage } from "./plain-pages.js";
import { pagePolicy } from "./style.js";

/** Approvals of one list, and bytes of their arguments that are read for it. */
const listed = 100;
const mostBytes = 4 * 1024 * 1024;
/** Bytes of a form: a reason, of characters that take nine bytes each. */
const formLimit = 256 * 1024;

const headers = {
  "content-security-policy": pagePolicy,
  "cross-origin-opener-policy": "same-origin",
  // To others it says nothing. `no-referrer` would also make browsers hide from us where our own forms come from.
  "referrer-policy": "same-origin",
};

/**
 * The pages on which people decide: made on the server, without any script. Only these routes take forms, and only these
 * take a session; a GET changes nothing (threat U10).
 */
export const peopleRoutes: RegisterRoutes = async (app, context) => {
  const { service, authentication, sessions, hosts } = context;
  await app.register(cookie, { hook: false });
  app.removeContentTypeParser("application/json");
  await app.register(formbody, { bodyLimit: formLimit });
  app.addHook("preValidation", async (request) => {
    if (request.method !== "POST") return;
    const problem = foreignForm(request, hosts);
    if (problem !== null) authentication.refuseForeign(request, problem);
    const { form } = (request.body ?? {}) as { readonly form?: unknown };
    if (request.credential !== null && !isFormToken(request.credential, form))
      authentication.refuseForeign(request, "the form is not one of this session");
  });
  app.setErrorHandler((thrown, request, reply) => answerPage(thrown, request, reply, context));

  app.get("/sign-in", { schema: { hide: true, querystring: signInQuery } }, async (request, reply) => {
    const to = returnPath(request.query.to);
    if (await sessions.isSignedIn(request)) return reply.redirect(to, 303);
    return send(reply, signInPage(to, null));
  });

  app.post("/sign-in", { schema: { hide: true, body: signInBody } }, async (request, reply) => {
    const { token, to } = request.body;
    const { principal } = await authentication.proveToken(request, token.trim());
    if (principal.role !== "approver" && principal.role !== "admin") {
      authentication.refuseSignIn(principal);
    }
    if (principal.token === null)
      throw new HttpError(
        403,
        "A JWT does not sign in here: the session could not end with it. Use a token of Aegis.",
      );
    await sessions.begin(request, reply, principal);
    return reply.redirect(returnPath(to), 303);
  });

  app.post("/sign-out", { schema: { hide: true, body: signOutBody } }, async (request, reply) => {
    await sessions.end(request, reply);
    return reply.redirect("/sign-in", 303);
  });

  app.get("/approvals", { schema: { hide: true, querystring: listQuery } }, async (request, reply) => {
    const { before } = request.query;
    const filter = { status: "pending", ...(before === undefined ? {} : { before }) } as const;
    const waiting = await service.approvals({ ...filter, limit: listed, bytes: mostBytes });
    const [oldest] = waiting;
    const more =
      oldest === undefined ? [] : await service.approvals({ status: "pending", limit: 1, before: oldest.id });
    const older = more.length > 0 && oldest !== undefined ? oldest.id : null;
    return send(reply, listPage(waiting, older, mustView(request), Date.now()));
  });

  app.get("/approvals/:id", { schema: { hide: true, params: pageParams } }, async (request, reply) => {
    const approval = await approvalOf(service, request.params.id);
    const around = await service.approvalContext(approval.id);
    return send(reply, approvalPage(approval, around, mustView(request), Date.now()));
  });

  app.get(
    "/approvals/:id/arguments",
    { schema: { hide: true, params: pageParams } },
    async (request, reply) => {
      const { arguments: written } = await approvalOf(service, request.params.id);
      return reply.type("text/plain; charset=utf-8").send(escapedJson(written));
    },
  );

  app.post(
    "/approvals/:id",
    { schema: { hide: true, params: pageParams, body: decisionBody } },
    async (request, reply) => {
      const approval = await approvalOf(service, request.params.id);
      const { decision, digest, reason, uses, minutes } = request.body;
      // What an approval binds never changes: what is read here is what is decided.
      if (digest !== approval.digest) throw differs(approval.id);
      const grant = {
        ...(uses === undefined ? {} : { uses }),
        ...(minutes === undefined ? {} : { expires: minutes * 60_000 }),
      };
      const options: DecisionOptions = { channel: "page", ...(decision === "grant" ? { grant } : {}) };
      const verdict = decision === "deny" ? "denied" : "approved";
      await service.decideApproval(approval.id, verdict, request.principal, reason, options);
      return reply.redirect(`/approvals/${approval.id}`, 303);
    },
  );
};

/** Every answer that is not what was asked for, as a page that says where to go on. */
function answerPage(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  context: RouteContext,
): FastifyReply {
  const answer = answerTo(thrown, request, context);
  const { status, detail, headers: more = {} } = answer;
  const page = pageOf(request);
  const looks = request.method === "GET";
  if (status === 401 && looks && request.headers["sec-fetch-site"] !== "cross-site")
    return reply.redirect(signInAt(page), 303);
  // Not the challenge of a 401, on which a browser would ask for a password itself.
  reply.code(status).headers(status === 429 ? more : {});
  if (status === 401 && looks) return send(reply, doorstepPage(page));
  if (request.routeOptions.url === "/sign-in" && typeof detail === "string")
    return send(reply, signInPage(page, detail));
  const viewer = viewerOf(request);
  const list = html`<a href="/approvals">What waits for a decision</a>`;
  // What is not there is no number that could be told from another.
  if (status === 404)
    return send(reply, errorPage({ status, detail: "There is no such approval." }, viewer, list));
  if (status === 401)
    return send(
      reply,
      errorPage(answer, viewer, html`<a href="${signInAt(page)}">Sign in</a>, and look at it again.`),
    );
  const next = page === "/approvals" ? list : html`<a href="${page}">Look at it as it is now</a>`;
  return send(reply, errorPage(answer, viewer, next));
}

function signInAt(page: string): string {
  return `/sign-in?to=${encodeURIComponent(page)}`;
}

function send(reply: FastifyReply, page: string): FastifyReply {
  return reply.headers(headers).type("text/html; charset=utf-8").send(page);
}

/** What is no number is answered like a number nobody has. */
async function approvalOf(service: Service, id: string): Promise<Approval> {
  if (!/^[1-9]\d{0,15}$/.test(id)) throw unknownApproval(0);
  return service.approval(Number(id));
}

function viewerOf({ credential }: FastifyRequest): Viewer | null {
  return credential === null ? null : { principal: credential.principal, form: credential.form ?? "" };
}

function mustView(request: FastifyRequest): Viewer {
  return viewerOf(request) ?? { principal: request.principal, form: "" };
}

/** The page that a request is about, to go on to. */
function pageOf({ url, body }: FastifyRequest): string {
  const { to } = (body ?? {}) as { readonly to?: unknown };
  const path = url.replace(/[?#].*$/s, "");
  return returnPath(typeof to === "string" ? to : path);
}

/** Threat U7: a view that is older than what it decides. */
function differs(id: number): AegisError {
  return new AegisError(
    "approval_differs",
    `Approval ${id} is not for what was shown; nothing was decided.`,
    {
      hint: "Look at it again, and decide what it says now.",
    },
  );
}
