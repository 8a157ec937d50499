import type { Principal } from "../../../client/backend.js";
import {
  decideRequest,
  type IntentWire,
  releaseRequest,
  verdictToWire,
  verdictWire,
} from "../../../client/wire/decisions.js";
import { httpLease } from "../../../client/wire/gateways.js";
import { reasonOf } from "../../../errors.js";
import { scan } from "../../../frame/scan.js";
import { readArguments, type UnreadIntent } from "../../unread-intent.js";
import { type App, bodyLimits, type RouteContext } from "../app.js";
import { HttpError } from "../errors.js";
import { LARGE } from "../large-bodies.js";
import { callerOf } from "./caller.js";
import type { KnownGateways } from "./known-gateways.js";

/** One request per tool call: it is decided and its record is durable when the answer is sent (invariant 1). */
export function decisionRoutes(app: App, { service, metrics }: RouteContext, known: KnownGateways): void {
  app.post(
    "/v1/decisions",
    {
      bodyLimit: bodyLimits.decision,
      schema: {
        summary: "Decide a tool call",
        description:
          "Evaluates kill switch and policy and records the decision, durably. `call` is the idempotency key: asked again " +
          "about the same call it says the same; about another one with that id it refuses. A REVIEW opens an approval, or " +
          "attaches to one.",
        body: decideRequest,
        response: { 200: verdictWire },
      },
    },
    async (request) => {
      const askedAt = performance.now();
      const intent = intentOf(request.body, request.principal);
      await known.require(intent.gateway, request.principal);
      const verdict = await service.decide(intent);
      metrics.decisions.inc({ decision: verdict.decision });
      return verdictToWire(verdict, askedAt, httpLease);
    },
  );

  app.post(
    "/v1/decisions/release",
    {
      bodyLimit: bodyLimits.decision,
      schema: {
        summary: "Decide a held call, or one whose lease ran out, again",
        description:
          "Everything is asked under the state of this moment and recorded. With an approval it is used up by an ALLOW; " +
          "without one a call that was allowed before gets a new lease.",
        body: releaseRequest,
        response: { 200: verdictWire },
      },
    },
    async (request) => {
      const askedAt = performance.now();
      const { approval, ...asked } = request.body;
      const intent = intentOf(asked, request.principal);
      await known.require(intent.gateway, request.principal);
      const verdict = await service.release(intent, approval);
      metrics.decisions.inc({ decision: verdict.decision });
      return verdictToWire(verdict, askedAt, httpLease);
    },
  );
}

function intentOf(asked: IntentWire, by: Principal): UnreadIntent {
  const principal = callerOf(by, asked.agent, asked.principal);
  // Another gateway's next id would otherwise be taken before it is used.
  if (!asked.call.startsWith(`${asked.gateway}-`)) {
    throw invalid(
      "call",
      `The id of a call begins with that of its gateway and a hyphen: ${asked.gateway}-1.`,
    );
  }
  const { arguments: text } = asked;
  if (text.length <= LARGE) return { ...asked, principal, parsed: parsed(text) };
  if (!/^[ \t\r\n]*\{/.test(text)) throw invalid("arguments", noObject);
  scanned(text);
  return {
    ...asked,
    principal,
    unread: true,
    // Of 12 MB it takes 200 ms, in which nobody else would be answered: it is left to the thread that decides.
    get parsed(): unknown {
      return readArguments(text);
    },
  };
}

const noObject = "The arguments are the text of a JSON object, or empty.";

function parsed(text: string): unknown {
  if (text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw unreadable(thrown);
  }
  scanned(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw invalid("arguments", noObject);
}

/**
 * As a frame of a client may hold them: what two parsers could read differently would be judged as another call. It ends
 * with any text; what it says counts for JSON only.
 */
function scanned(text: string): void {
  try {
    scan(`{"params":{"arguments":${text}}}`);
  } catch (thrown) {
    throw unreadable(thrown);
  }
}

function unreadable(thrown: unknown): HttpError {
  return invalid("arguments", `The arguments cannot be read: ${reasonOf(thrown).slice(0, 200)}`);
}

function invalid(member: string, msg: string): HttpError {
  return new HttpError(422, [{ loc: ["body", member], msg, type: "value_error" }]);
}
