import type { Principal, Verdict } from "../../../client/backend.js";
import {
  decideRequest,
  type IntentWire,
  releaseRequest,
  verdictToWire,
  verdictWire,
} from "../../../client/wire/decisions.js";
import { httpLease } from "../../../client/wire/gateways.js";
import { AegisError } from "../../../errors.js";
import { readArguments, type UnreadIntent } from "../../decisions/unread-intent.js";
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
      const verdict = await judged(intent, service.decide(intent));
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
      const verdict = await judged(intent, service.release(intent, approval));
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
  const { client, stage, ...names } = asked;
  const { arguments: text } = names;
  const intent = {
    ...names,
    principal,
    ...(client === undefined ? {} : { client }),
    ...(stage === undefined ? {} : { stage }),
  };
  if (text.length <= LARGE) return { ...intent, parsed: read(text) };
  if (!/^[ \t\r\n]*\{/.test(text)) throw invalid("arguments", "The arguments are the text of a JSON object.");
  return {
    ...intent,
    unread: true,
    get parsed(): unknown {
      return readArguments(text);
    },
  };
}

function read(text: string): unknown {
  try {
    return readArguments(text);
  } catch (thrown) {
    throw unreadable(thrown);
  }
}

/** What is wrong with arguments that were read elsewhere: everything else that could be was checked before. */
async function judged({ unread }: UnreadIntent, asked: Promise<Verdict>): Promise<Verdict> {
  if (unread !== true) return asked;
  try {
    return await asked;
  } catch (thrown) {
    throw unreadable(thrown);
  }
}

function unreadable(thrown: unknown): unknown {
  if (!(thrown instanceof AegisError) || thrown.code !== "usage") return thrown;
  return invalid("arguments", thrown.message);
}

function invalid(member: string, msg: string): HttpError {
  return new HttpError(422, [{ loc: ["body", member], msg, type: "value_error" }]);
}
