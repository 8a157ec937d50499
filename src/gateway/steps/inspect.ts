import type { Intent, Verdict, Waiting } from "../../client/backend.js";
import { redacting, searching } from "../../data/redact-json.js";
import type { DataRule } from "../../data/rules.js";
import { reasonOf } from "../../errors.js";
import { parseServerFrame } from "../../frame/parse.js";
import { type Span, spanAt, splice } from "../../frame/text.js";
import { type AnswerParts, partsOf } from "../answer.js";
import type { Call, CallResult, Refusal } from "../call.js";
import type { Step } from "../pipeline.js";
import type { Services } from "../services.js";
import { inSlices } from "../slices.js";
import { checkVerdict } from "./authorize.js";
import { decided } from "./person.js";

type Answered = Extract<CallResult, { kind: "answered" }>;

/** Characters of an answer that are looked through; also what a decision about one may hold. */
const LONGEST = 16 * 1024 * 1024 - 1024;

/** What tells the model that repeating the call does not help, and may do harm. */
const HAS_RUN = "Repeating the call would run it again.";

/**
 * Holds the answer of the server against the rules for data in results, before the client sees a byte of it. Where
 * nothing is found it passes as it is (invariant 7). Whatever goes wrong here withholds it: the call has run, and what
 * could not be looked through is not passed on.
 *
 * Only the answer: progress, notifications and questions of the server that come while the call runs pass as they are.
 */
export function inspect(services: Services): Step {
  const { backend, killSwitch, log } = services;
  return async (call, next) => {
    const result = await next();
    const rules = call.verdict?.inspect ?? [];
    if (result.kind !== "answered" || rules.length === 0) return result;
    try {
      const seen = await inspected(call, result, rules);
      return seen === null || call.request.aborted !== null ? leftBy(call, result) : seen;
    } catch (thrown) {
      log.error({ call: call.intent.call, reason: reasonOf(thrown) }, "result withheld");
      call.found ??= "result withheld";
      return withheld(
        result,
        null,
        `It could not be looked through for data that policy protects. ${HAS_RUN}`,
      );
    }
  };

  /** Null where the request ended meanwhile. */
  async function inspected(
    call: Call,
    result: Answered,
    rules: readonly DataRule[],
  ): Promise<CallResult | null> {
    const { text } = result;
    const stopped = (): boolean => call.request.aborted !== null;
    if (text.length > LONGEST) {
      call.found = "result withheld";
      return withheld(
        result,
        null,
        `It has ${text.length} characters, more than can be looked through. ${HAS_RUN}`,
      );
    }
    const parts = partsOf(text, call.request.key);
    const found = await inSlices(searching(text, rules, parts.ours), stopped);
    if (found === null || stopped()) return null;
    if (found.length === 0) return result;

    const strongest = (["block", "review", "redact"] as const).find((each) =>
      found.some(({ effect }) => effect === each),
    );
    const names = [...new Set(found.map(({ name }) => name))].join(", ");
    if (strongest === "redact") {
      call.found = `${names} in the result: redacted`;
      return redacted(result, text, found, parts, stopped);
    }
    const rule = found.find(({ effect }) => effect === strongest);
    if (rule === undefined || strongest === "block") {
      call.found = `${names} in the result: withheld`;
      return withheld(result, rule?.rule ?? null, blockedText(rule, names));
    }
    call.found = `${names} in the result: held`;
    const shown = await reviewed(call, result, parts);
    if (shown === null || typeof shown !== "string") return shown;
    const redacts = found.filter(({ effect }) => effect === "redact");
    if (redacts.length > 0)
      return redacted(result, shown, redacts, partsOf(shown, call.request.key), stopped);
    return shown === text ? result : answered(shown);
  }

  async function redacted(
    result: Answered,
    text: string,
    rules: readonly DataRule[],
    { ours }: AnswerParts,
    stopped: () => boolean,
  ): Promise<CallResult | null> {
    const clean = await inSlices(redacting(text, rules, ours), stopped);
    if (clean === null) return null;
    return clean === text ? result : answered(clean);
  }

  /** The frame that a person let pass, which may have been redacted; or how the call ends without it. */
  async function reviewed(
    call: Call,
    result: Answered,
    parts: AnswerParts,
  ): Promise<string | CallResult | null> {
    const { value } = parts;
    // A person lets pass what was shown: nothing beside it, and not another member of the same name.
    if (value === null) throw new Error("the answer has members that a person could not be shown");
    const intent = resultIntent(call.intent, result.text.slice(value.start, value.end));
    const asked = await backend.decide(intent);
    checkVerdict(intent, asked);
    if (asked.decision === "ALLOW") return passed(result.text, value, asked);
    const { approval } = asked;
    if (asked.decision !== "REVIEW" || approval === undefined) return refused(result, asked);
    let ended: string | CallResult | null;
    try {
      ended = await held(call, intent, approval, asked, result, value);
    } catch (thrown) {
      // As with a held call: a waiter that stayed behind would keep others from the approval.
      await backend.detachWaiter(approval.id, intent.call);
      throw thrown;
    }
    return ended;
  }

  async function held(
    call: Call,
    intent: Intent,
    approval: Waiting,
    { rule }: Verdict,
    result: Answered,
    value: Span,
  ): Promise<string | CallResult | null> {
    const { id } = approval;
    const ended = await decided(services, call, approval);
    if (ended === "approved") {
      const verdict = await backend.release(intent, id);
      checkVerdict(intent, verdict);
      if (verdict.decision !== "ALLOW") return refused(result, verdict);
      if (killSwitch.isKilled(call.intent.agent)) return killed(result, id);
      return passed(result.text, value, verdict);
    }
    if (ended === "timeout" || ended === "cancelled" || ended === "closed")
      await backend.detachWaiter(id, intent.call);
    if (ended === "cancelled" || ended === "closed") return null;
    if (ended === "killed" || killSwitch.isKilled(call.intent.agent)) return killed(result, id);
    if (ended === "timeout") {
      const why = `A person must let it pass (approval ${id}), and nobody decided in time: it was dropped.`;
      return withheld(result, rule, `${why} ${HAS_RUN}`, id);
    }
    const { decidedBy, decidedReason } = await backend.approval(id);
    const who = ended === "denied" ? `${decidedBy ?? "A person"} denied it` : `Its approval is ${ended}`;
    const said = decidedReason ? `: ${decidedReason}` : "";
    return withheld(result, rule, `${who}${said} (approval ${id}). ${HAS_RUN}`, id);
  }
}

/** The answer as it is decided: not the call again, and no call of its own. */
function resultIntent(intent: Intent, value: string): Intent {
  const text = `{"result":${value}}`;
  return {
    ...intent,
    call: `${intent.call}.result`,
    stage: "result",
    arguments: text,
    parsed: JSON.parse(text) as unknown,
  };
}

/** The frame with the value that was let pass. */
function passed(text: string, value: Span, verdict: Verdict): string {
  if (verdict.arguments === undefined) return text;
  const span = spanAt(verdict.arguments, "result");
  if (span === undefined) throw new Error("the backend let pass what is no result");
  return splice(text, value, verdict.arguments.slice(span.start, span.end));
}

/** @throws FrameError where it is no answer any more */
function answered(text: string): CallResult {
  const frame = parseServerFrame(text);
  if (frame.kind !== "response") throw new Error("the answer is none any more");
  return { kind: "answered", text, frame };
}

function withheld(result: Answered, rule: string | null, reason: string, approval?: number): CallResult {
  const named = approval === undefined ? {} : { approval };
  const refusal: Refusal = { decision: "BLOCK", rule, reason, ran: true, ...named };
  return { kind: "withheld", refusal, frame: result.frame, ...named };
}

function refused(result: Answered, { decision, rule, reason, approval }: Verdict): CallResult {
  if (decision === "KILLED") return killed(result, approval?.id);
  return withheld(result, rule, `${reason} ${HAS_RUN}`, approval?.id);
}

function blockedText(rule: DataRule | undefined, names: string): string {
  const why = rule?.reason ? ` (${rule.reason})` : "";
  return `Policy does not let data of this kind pass: ${names}${why}. ${HAS_RUN}`;
}

function killed({ frame }: Answered, approval?: number): CallResult {
  const reason = "The agent was stopped after this call had run; its result was dropped.";
  const named = approval === undefined ? {} : { approval };
  const refusal: Refusal = { decision: "KILLED", rule: null, reason, inFlight: true, ran: true, ...named };
  return { kind: "withheld", refusal, frame, ...named };
}

/** The request ended while its answer was looked through: the late result is dropped (threat D15). */
function leftBy(call: Call, result: Answered): CallResult {
  return call.request.aborted === "killed" ? killed(result) : { kind: "cancelled" };
}
