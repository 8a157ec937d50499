import { z } from "zod";
import type { BackendEvent, GatewayInfo } from "../backend.js";
import { approvalStatusField } from "./approvals.js";
import { countField, idField, nameField, numberInQuery, positionField, timeField } from "./fields.js";

/** Milliseconds an ALLOW may be used, from the moment its question was sent. */
export const httpLease = 2_000;
/** Milliseconds between two signs of life of a gateway. */
export const httpHeartbeat = 1_000;

const gatewayField = nameField.meta({ description: "The id that registering gave." });

/** `POST /v1/gateways`. */
export const enlistRequest = z.strictObject({
  pid: z.int().min(0).max(0xffff_ffff),
  label: nameField.meta({ description: "What people call it: `wrap files`, `gateway /etc/aegis.yaml`." }),
  address: nameField.nullable().meta({ description: "Where its clients reach it; null on stdio." }),
  host: nameField.meta({ description: "The machine it runs on." }),
});

export const enlistAnswer = z.object({
  id: z.string().meta({ description: "Begins the ids of its calls." }),
  event: positionField.meta({ description: "The newest event that it need not hear of." }),
  lease_ms: countField.meta({
    description: "How long an ALLOW may be used, from when its question was sent.",
  }),
  heartbeat_ms: countField.meta({ description: "How often it is to give a sign of life." }),
});

/** `POST /v1/gateways/heartbeat`. */
export const heartbeatRequest = z.strictObject({
  gateway: gatewayField,
  mark: positionField.meta({
    description: "Up to this record, the ledger has no open call of this gateway.",
  }),
});

export const heartbeatAnswer = z.object({
  known: z.boolean().meta({ description: "False: it is to register again." }),
});

/** `POST /v1/gateways/heard`. */
export const heardRequest = z.strictObject({
  gateway: gatewayField,
  event: positionField.meta({ description: "Everything up to this event has been acted upon." }),
});

/** `POST /v1/gateways/leave`. */
export const leaveRequest = z.strictObject({ gateway: gatewayField });

/** `GET /v1/gateways/events`. */
export const gatewayEventsQuery = z.strictObject({
  gateway: gatewayField,
  after: numberInQuery(0, Number.MAX_SAFE_INTEGER)
    .optional()
    .meta({
      description:
        "Begins behind this event, as registering gave it; the header `Last-Event-ID` goes before it. " +
        "Left out: begins with a `resync`.",
    }),
});

export const gatewayWire = z.object({
  id: z.string(),
  pid: z.int(),
  label: z.string(),
  address: z.string().nullable(),
  started_at: timeField,
});

export type GatewayWire = z.infer<typeof gatewayWire>;

/** `GET /v1/gateways`. */
export const gatewaysAnswer = z.object({ gateways: z.array(gatewayWire) });

type Gateway = GatewayInfo & { readonly id: string; readonly startedAt: string };

export function gatewayToWire({ id, pid, label, address, startedAt }: Gateway): GatewayWire {
  return { id, pid, label, address, started_at: startedAt };
}

export function gatewayFromWire({ started_at, ...gateway }: GatewayWire): Gateway {
  return { ...gateway, startedAt: started_at };
}

/** The data of an event of `GET /v1/gateways/events`; the event's id is its number. An unknown kind changes nothing. */
export const gatewayEventWire: z.ZodType<BackendEvent> = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("kill"), agent: z.string() }),
  z.object({ kind: z.literal("revive"), agent: z.string() }),
  z.object({ kind: z.literal("approval"), id: idField, status: approvalStatusField }),
  z.object({ kind: z.literal("token"), id: idField }),
  z.object({ kind: z.literal("policy"), revision: z.string() }),
  z.object({ kind: z.literal("tools"), agent: z.string() }),
]);

/**
 * The name of the event that says: events you missed are forgotten, so ask for the state of everything anew. Its id is
 * the newest event, which is confirmed like any other.
 */
export const resyncEvent = "resync";
/** The name of the event that has a number and says nothing: what happened up to there is of other agents. */
export const skipEvent = "skip";
/** The name of the last event of a stream that the backend ends, on both streams. */
export const endEvent = "end";

/** The data of `endEvent`. */
export const endWire = z.object({
  reason: z.enum(["slow", "credential", "stopping", "failed"]),
  detail: z.string().meta({ description: "A sentence for people." }),
});

export type EndWire = z.infer<typeof endWire>;
