import { z } from "zod";
import { type DataRule, dataEffects, detectorNames } from "../../data/rules.js";
import type { Intent, Verdict } from "../backend.js";
import { approvalStatusField } from "./approvals.js";
import {
  callField,
  countField,
  fitting,
  foreignNameField,
  idField,
  nameField,
  textField,
  timeField,
} from "./fields.js";

/** Characters of what a client calls itself: more is cut off. */
const longestClaim = 256;

/** Characters of the arguments of one call: more than a frame may have. */
export const longestArguments = 16 * 1024 * 1024;

const intentFields = {
  call: callField,
  gateway: nameField.meta({ description: "The gateway that asks, by the id that registering gave." }),
  agent: nameField,
  principal: nameField.optional().meta({
    description:
      "Whoever called the gateway. Left out, and for a token that is bound to an agent, it is the token's own name.",
  }),
  server: foreignNameField.meta({ description: "Key of the server in the gateway's configuration." }),
  tool: foreignNameField.meta({ description: "The tool's own name at that server." }),
  action: foreignNameField.meta({
    description: "Canonical name, exactly `server__tool` of the two: a call by any other is blocked.",
  }),
  definition: z
    .string()
    .regex(/^[0-9a-z]{1,64}$/)
    .meta({ description: "SHA-256 (hex) over the tool's definition in lossless canonical form." }),
  arguments: textField(longestArguments).meta({
    description:
      "`params.arguments` as JSON text, byte for byte as the client wrote it; empty where it was left out.",
  }),
  client: z
    .strictObject({ name: textField(longestClaim), version: textField(longestClaim) })
    .optional()
    .meta({ description: "What the MCP client calls itself: its own claim." }),
  stage: z.literal("result").optional().meta({
    description:
      'Not the call but its answer, before the client sees it: `call` is that of the call with `.result` behind it, `arguments` is `{"result": …}`.',
  }),
};

/** `POST /v1/decisions`. Asked twice about one call, it says the same and records nothing more. */
export const decideRequest = z.strictObject(intentFields);

/** `POST /v1/decisions/release`. */
export const releaseRequest = z.strictObject({
  ...intentFields,
  approval: idField.nullable().meta({
    description: "The approval the call waited on; null renews the lease of a call that was allowed.",
  }),
});

export type IntentWire = z.infer<typeof decideRequest>;

/** One that is not known here can not be looked for, and so denies. */
const dataRuleWire = z.strictObject({
  rule: z.string().meta({ description: "`file:line data what`." }),
  detect: z.enum(detectorNames),
  name: z.string(),
  pattern: z.string().nullable().meta({ description: "Custom only: a regular expression (RE2)." }),
  effect: z.enum(dataEffects),
  reason: z.string().nullable(),
});

/** Strict, and exactly one of four: an answer that says anything else denies. */
export const verdictWire = z
  .strictObject({
    call: z.string().meta({ description: "The call that was asked about." }),
    decision: z.enum(["ALLOW", "BLOCK", "REVIEW", "KILLED"]),
    rule: z
      .string()
      .nullable()
      .meta({ description: "`file:line list pattern`; null where a default decided." }),
    reason: z.string().meta({ description: "A sentence for people and models." }),
    revision: z.string().meta({ description: "Hash of the policy revision in force." }),
    record: idField.meta({ description: "The ledger record of this decision, which is durable." }),
    lease_ms: countField.optional().meta({
      description:
        "ALLOW only: how long it may be used, counted by the caller from the moment it sent the request. " +
        "0 where the answer repeats an earlier one: ask for a release.",
    }),
    approval: z
      .strictObject({ id: idField, status: approvalStatusField, expires_at: timeField })
      .optional()
      .meta({ description: "With a REVIEW, and with an ALLOW that an approval gave." }),
    arguments: z.string().optional().meta({
      description: "ALLOW only: the arguments that may be forwarded, where policy changed them; JSON text.",
    }),
    inspect: z
      .array(dataRuleWire)
      .optional()
      .meta({ description: "ALLOW only: what the answer is held against before the client sees it." }),
  })
  .refine(({ decision, lease_ms }) => (decision === "ALLOW") === (lease_ms !== undefined), {
    error: "An ALLOW has a lease, and nothing else has one.",
  })
  .refine(
    ({ decision, arguments: text, inspect }) =>
      decision === "ALLOW" || (text === undefined && inspect === undefined),
    { error: "Only an ALLOW says what may be forwarded." },
  );

export type VerdictWire = z.infer<typeof verdictWire>;

/** @param principal left out where the token itself says who calls */
export function intentToWire(intent: Intent, principal: string | undefined): IntentWire {
  const { call, gateway, agent, server, tool, action, definition, client, stage } = intent;
  return {
    call,
    gateway,
    agent,
    ...(principal === undefined ? {} : { principal }),
    server,
    tool,
    action,
    definition,
    arguments: intent.arguments,
    // What a client says of itself is no reason to refuse its calls.
    ...(client === undefined
      ? {}
      : {
          client: {
            name: fitting(client.name, longestClaim),
            version: fitting(client.version, longestClaim),
          },
        }),
    ...(stage === undefined ? {} : { stage }),
  };
}

/**
 * @param askedAt `performance.now()` of this process before the question came in, or earlier than that
 * @param most milliseconds of the longest lease
 */
export function verdictToWire(verdict: Verdict, askedAt: number, most: number): VerdictWire {
  const { call, decision, rule, reason, revision, record, leaseUntil, approval, inspect } = verdict;
  // What is left from when it was asked, rounded down: whoever asked counts from before that.
  const left = Math.floor((leaseUntil ?? askedAt) - askedAt);
  return {
    call,
    decision,
    rule,
    reason,
    revision,
    record,
    ...(decision === "ALLOW" ? { lease_ms: Math.max(0, Math.min(most, left)) } : {}),
    ...(approval === undefined
      ? {}
      : { approval: { id: approval.id, status: approval.status, expires_at: approval.expiresAt } }),
    ...(verdict.arguments === undefined ? {} : { arguments: verdict.arguments }),
    ...(inspect === undefined ? {} : { inspect: inspect.map(dataRuleToWire) }),
  };
}

/** By name: as it comes from a policy it has more, such as its file, and whoever reads this is strict. */
function dataRuleToWire({
  rule,
  detect,
  name,
  pattern,
  effect,
  reason,
}: DataRule): z.infer<typeof dataRuleWire> {
  return { rule, detect, name, pattern, effect, reason };
}

/** @param sentAt `performance.now()` of this process before the first byte of the question was sent */
export function verdictFromWire(wire: VerdictWire, sentAt: number): Verdict {
  const { lease_ms, approval, arguments: text, inspect, ...same } = wire;
  return {
    ...same,
    ...(text === undefined ? {} : { arguments: text }),
    ...(inspect === undefined ? {} : { inspect }),
    ...(lease_ms === undefined ? {} : { leaseUntil: lease_ms === 0 ? 0 : sentAt + lease_ms }),
    ...(approval === undefined
      ? {}
      : { approval: { id: approval.id, status: approval.status, expiresAt: approval.expires_at } }),
  };
}
