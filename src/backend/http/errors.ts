import { STATUS_CODES } from "node:http";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { AegisError, type ErrorCode, reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";
import { securityHeaders } from "./security-headers.js";
import { InvalidRequest, type Problem } from "./validation.js";

/** An answer that is not 2xx, thrown where it is found out. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    /** For the caller: no secret, nothing of the inside. */
    readonly detail: string | readonly Problem[],
    readonly headers: Readonly<Record<string, string | string[]>> = {},
  ) {
    super(typeof detail === "string" ? detail : "the request is not valid");
    this.name = "HttpError";
  }
}

/** Codes that are the caller's doing. Every other one is a fault of ours: the caller learns no more than that. */
const statuses: Partial<Record<ErrorCode, number>> = {
  usage: 400,
  not_permitted: 403,
  unknown_agent: 404,
  unknown_approval: 404,
  unknown_gateway: 404,
  unknown_token: 404,
  unknown_grant: 404,
  unknown_tool: 404,
  already_approved: 409,
  approval_differs: 409,
  approval_settled: 409,
  policy_invalid: 422,
  too_many_gateways: 429,
};

/** Every answer that is not 2xx; /v1 adds the code of `docs/errors.md` and a hint. */
export const errorBody = z
  .object({
    detail: z.union([
      z.string(),
      z.array(
        z.object({ loc: z.array(z.union([z.string(), z.number()])), msg: z.string(), type: z.string() }),
      ),
    ]),
    code: z.string().optional(),
    hint: z.string().optional(),
  })
  .describe("Why the request was refused");

export interface Answer {
  readonly status: number;
  readonly detail: string | readonly Problem[];
  readonly code?: ErrorCode;
  readonly hint?: string | undefined;
  readonly headers?: Readonly<Record<string, string | string[]>>;
}

const unavailable = "The backend cannot do this now; what it says is in its log. Try again.";

/** Answers with what was thrown. A fault is logged with its cause, and its answer says nothing of it. */
export function answerError(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  told: { readonly log: Logger; readonly metrics: { storeFault(): void } },
): FastifyReply {
  const { status, detail, code, hint, headers = {} } = answerTo(thrown, request, told);
  const extra = isV1(request)
    ? { ...(code === undefined ? {} : { code }), ...(hint === undefined ? {} : { hint }) }
    : {};
  return reply
    .code(status)
    .headers(headers)
    .type("application/json; charset=utf-8")
    .serializer(JSON.stringify)
    .send({ detail, ...extra });
}

/** What there is to say; a fault of ours is logged, and counted. */
export function answerTo(
  thrown: unknown,
  request: FastifyRequest,
  told: { readonly log: Logger; readonly metrics: { storeFault(): void } },
): Answer {
  const answer = answerOf(thrown);
  if (answer.code === "backend_unavailable") told.metrics.storeFault();
  if (answer.status >= 500 && !(thrown instanceof HttpError)) {
    const { method, routeOptions } = request;
    told.log.error({ method, route: routeOptions.url, cause: thrown }, `request failed: ${reasonOf(thrown)}`);
  }
  return answer;
}

/** What the router itself refuses, before any hook: a path that is no path, or a segment over its limit. */
export function answerUnroutable(error: FastifyError, _request: FastifyRequest, reply: FastifyReply): void {
  const tooLong = error.code === "FST_ERR_MAX_PARAM_LENGTH";
  reply
    .code(tooLong ? 414 : 400)
    .headers(securityHeaders)
    .type("application/json; charset=utf-8")
    .serializer(JSON.stringify)
    .send({ detail: tooLong ? "A part of the path is too long." : "The path is not valid." });
}

function isV1(request: FastifyRequest): boolean {
  return /^\/v1(?:[/?]|$)/.test(request.url);
}

function answerOf(thrown: unknown): Answer {
  if (thrown instanceof HttpError) return thrown;
  if (thrown instanceof InvalidRequest) return { status: 422, detail: thrown.problems() };
  if (thrown instanceof AegisError) {
    const { code, message, hint } = thrown;
    const status = statuses[code];
    if (status !== undefined) return { status, detail: message, code, hint };
    if (code === "backend_unavailable")
      return { status: 503, detail: unavailable, code, headers: { "retry-after": "1" } };
    return { status: 500, detail: "Internal Server Error", code };
  }
  return answerOfFramework(thrown);
}

/** Errors of Fastify and its plugins carry a code and a status. */
function answerOfFramework(thrown: unknown): Answer {
  const { code, statusCode } = (thrown instanceof Error ? thrown : {}) as Partial<FastifyError>;
  switch (code) {
    case "FST_ERR_CTP_INVALID_JSON_BODY":
    case "FST_ERR_CTP_EMPTY_JSON_BODY": {
      const msg = "The body is not JSON, or has a member such as __proto__ that is refused.";
      return { status: 422, detail: [{ loc: ["body"], msg, type: "json_invalid" }] };
    }
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return { status: 413, detail: "The body is too large." };
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
    case "FST_ERR_CTP_EMPTY_TYPE":
      return { status: 415, detail: "Send the body as application/json." };
    default:
  }
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return { status: statusCode, detail: STATUS_CODES[statusCode] ?? "Bad Request" };
  return { status: 500, detail: "Internal Server Error" };
}
