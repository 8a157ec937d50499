import { z } from "zod";
import type { Note, Outcome } from "../backend.js";
import {
  callField,
  fitting,
  foreignNameField,
  idField,
  longestForeignName,
  longestReason,
  nameField,
  reasonField,
} from "./fields.js";

/** Outcomes of one request. */
export const mostOutcomes = 1_000;

const principalField = nameField.optional().meta({
  description:
    "As in the decision: for a token that is bound to an agent, its own name whatever is said here.",
});

export const outcomeWire = z.strictObject({
  call: callField,
  agent: nameField,
  principal: principalField,
  server: foreignNameField,
  tool: foreignNameField,
  action: foreignNameField,
  outcome: z.enum([
    "ok",
    "tool_error",
    "error",
    "unknown",
    "not_forwarded",
    "cancelled",
    "killed",
    "waiting",
    "refused",
  ]),
  duration: z
    .number()
    .min(0)
    .max(1e12)
    .meta({ description: "Milliseconds from the frame's arrival to its answer." }),
  reason: reasonField.optional(),
  approval: idField.optional(),
});

export type OutcomeWire = z.infer<typeof outcomeWire>;

/** `POST /v1/outcomes`. A call ends once: what is told again changes nothing. */
export const outcomesRequest = z.strictObject({ outcomes: z.array(outcomeWire).max(mostOutcomes) });

/** @param principal left out where the token itself says who calls */
export function outcomeToWire(outcome: Outcome, principal: string | undefined): OutcomeWire {
  const { call, agent, duration, reason, approval } = outcome;
  return {
    call,
    agent,
    ...(principal === undefined ? {} : { principal }),
    server: fitting(outcome.server, longestForeignName),
    tool: fitting(outcome.tool, longestForeignName),
    action: fitting(outcome.action, longestForeignName),
    outcome: outcome.outcome,
    duration: Number.isFinite(duration) ? Math.min(Math.max(duration, 0), 1e12) : 0,
    ...(reason === undefined ? {} : { reason: fitting(reason, longestReason) }),
    ...(approval === undefined ? {} : { approval }),
  };
}

/** @param principal who called, as the server found out */
export function outcomeFromWire(wire: OutcomeWire, principal: string): Outcome {
  const { reason, approval, ...same } = wire;
  return {
    ...same,
    principal,
    ...(reason === undefined ? {} : { reason }),
    ...(approval === undefined ? {} : { approval }),
  };
}

/** `POST /v1/notes`. */
export const noteRequest = z.strictObject({
  kind: z.enum(["refused", "login_refused", "gateway", "server"]),
  agent: nameField.optional(),
  principal: principalField,
  server: foreignNameField.optional(),
  action: foreignNameField.optional().meta({ description: "What a client claimed it to be." }),
  reason: reasonField,
});

export type NoteWire = z.infer<typeof noteRequest>;

/** @param principal left out where the token itself says who calls */
export function noteToWire(note: Note, principal: string | undefined): NoteWire {
  const { kind, agent, server, action, reason } = note;
  return {
    kind,
    ...(agent === undefined ? {} : { agent }),
    ...(principal === undefined ? {} : { principal }),
    ...(server === undefined ? {} : { server: fitting(server, longestForeignName) }),
    ...(action === undefined ? {} : { action: fitting(action, longestForeignName) }),
    reason: fitting(reason, longestReason),
  };
}
