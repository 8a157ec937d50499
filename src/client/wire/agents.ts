import { z } from "zod";
import type { Agent, KillReceipt } from "../backend.js";
import { countField, nameField, reasonField, textField, timeField } from "./fields.js";

/** `POST /v1/agents`. */
export const ensureAgentRequest = z.strictObject({
  name: nameField,
  owner: textField(256).optional().meta({ description: "Changes the owner; left out, it stays what it is." }),
});

export const agentWire = z.object({
  name: z.string(),
  status: z.enum(["ACTIVE", "KILLED"]),
  lifecycle: z
    .enum(["REGISTERED", "ACTIVE", "COMPLETED"])
    .meta({ description: "What the agent says of itself; it stops nothing." }),
  owner: z.string(),
  created_at: timeField,
  killed: z
    .object({ by: z.string(), at: timeField, reason: z.string() })
    .nullable()
    .meta({ description: "Who killed it; null while it is active." }),
  allowed: countField,
  blocked: countField,
  held: countField,
});

export type AgentWire = z.infer<typeof agentWire>;

/** `GET /v1/agents`. */
export const agentsAnswer = z.object({ agents: z.array(agentWire) });

export function agentToWire({ createdAt, ...agent }: Agent): AgentWire {
  return { ...agent, created_at: createdAt };
}

export function agentFromWire({ created_at, ...agent }: AgentWire): Agent {
  return { ...agent, createdAt: created_at };
}

/** `POST /v1/kill` and `POST /v1/revive`. */
export const killRequest = z.strictObject({ agent: nameField, reason: reasonField.default("") });

/** `POST /v1/kill`: sent once nothing of the agent can be forwarded any more. */
export const killAnswer = z.object({
  agent: z.string(),
  already: z.boolean().meta({ description: "It was killed before; nothing changed." }),
  gateways: z.array(z.object({ id: z.string(), pid: z.int(), confirmed: z.boolean() })).meta({
    description: "The gateways that were alive; of those that did not confirm, the leases ran out.",
  }),
  voided: countField.meta({ description: "Approvals that became void." }),
});

export type KillAnswer = z.infer<typeof killAnswer>;

export function receiptToWire({ gateways, ...receipt }: KillReceipt): KillAnswer {
  return { ...receipt, gateways: [...gateways] };
}
