import { hash } from "node:crypto";
import { z } from "zod";
import type { Agent, Approval, ApprovalStatus } from "../../../client/backend.js";
import { nameField } from "../../../client/wire/fields.js";
import { actionProblem, sentAction } from "../../sdk/action.js";
import type { Reported } from "../../service.js";

/** Characters of free text: what is kept of it is less. */
const longestText = 1024 * 1024;
const longestStatus = 64;

/** A NUL or half of a surrogate pair: no store keeps it as it is. */
const unstorable = /[\0\p{Cs}]/u;

/** Free text, kept exactly or redacted. */
export const textField = z
  .string()
  .max(longestText)
  .refine((text) => !unstorable.test(text), {
    error: "The text holds a NUL or half of a surrogate pair.",
  });

/** An action as an SDK calls it. */
export const actionField = z
  .string()
  .superRefine((action, context) => {
    const problem = actionProblem(action);
    if (problem !== null)
      context.addIssue({ code: "custom", message: `The name ${problem}.`, continue: false });
  })
  .meta({
    description: "A function of the agent (in policies `sdk__NAME`), or `server__tool`.",
    minLength: 1,
  });

export const statusField = z
  .string()
  .min(1)
  .max(longestStatus)
  .refine((text) => !/[\p{C}\p{Zl}\p{Zp}]/u.test(text), { error: "The status holds what cannot be seen." });

export const ownerField = z.union([z.literal(""), nameField]);

export const ruleField = z.enum(["ALLOW", "BLOCK", "REVIEW"]);

/** Ids are whole numbers; which of them exist, the answer says. */
export const idParams = z.object({
  id: z
    .string()
    .regex(/^-?\d{1,400}$/, { error: "Input should be a valid integer." })
    .transform(Number),
});

/** Anything with these members: clients of the original sent more, and it did not mind. */
export const ok = z.object({ status: z.literal("ok") });
export const done = { status: "ok" } as const;

const waiting = {
  id: z.int(),
  agent_name: z.string(),
  action: z.string(),
  args_json: z.string(),
  status: z.string(),
  created_at: z.string(),
};

export const pendingWire = z.object(waiting);
export const approvalWire = z.object({ ...waiting, decided_at: z.string().nullable() });

export const agentWire = z.object({
  id: z.string(),
  name: z.string(),
  status: z.enum(["REGISTERED", "ACTIVE", "PAUSED", "COMPLETED"]),
  owner: z.string(),
  created_at: z.string(),
  risk_score: z.number(),
  framework: z.string(),
  total_logs: z.int(),
  blocked_count: z.int(),
  allowed_count: z.int(),
});

/** ISO 8601 as the contract writes it: UTC, to the second. */
export function wireTime(time: string): string {
  return time.slice(0, 19).replace("T", " ");
}

/** Only PAUSED stops anything. */
export function agentStatus({ status, lifecycle }: Agent): z.infer<typeof agentWire>["status"] {
  return status === "KILLED" ? "PAUSED" : lifecycle;
}

const approvalStatuses = {
  pending: "PENDING",
  approved: "APPROVED",
  consumed: "APPROVED",
  denied: "DENIED",
  // A client polls for ever on what is none of these three.
  expired: "DENIED",
  void: "DENIED",
} as const satisfies Record<ApprovalStatus, string>;

export function approvalStatus(status: ApprovalStatus): "PENDING" | "APPROVED" | "DENIED" {
  return approvalStatuses[status];
}

export function approvalToWire(approval: Approval): z.infer<typeof approvalWire> {
  const { id, agent, status, createdAt, decidedAt } = approval;
  return {
    id,
    agent_name: agent,
    action: sentAction(approval),
    args_json: approval.arguments === "" ? "{}" : approval.arguments,
    status: approvalStatus(status),
    created_at: wireTime(createdAt),
    decided_at: decidedAt === null ? null : wireTime(decidedAt),
  };
}

/** The lists of those that wait have no pages: of many, the newest; `/v1/approvals` has all. */
export const pendingFilter = { status: "pending", limit: 200, bytes: 8 * 1024 * 1024 } as const;

/** @param reported null where the agent has reported nothing */
export function agentToWire(agent: Agent, reported: Reported | null): z.infer<typeof agentWire> {
  const decided = agent.allowed + agent.blocked + agent.held;
  const total = decided + (reported?.total ?? 0);
  const blocked = agent.blocked + (reported?.blocked ?? 0);
  return {
    id: `AGT-${hash("sha256", agent.name).slice(0, 8)}`,
    name: agent.name,
    status: agentStatus(agent),
    owner: agent.owner,
    created_at: wireTime(agent.createdAt),
    risk_score: total === 0 ? 0 : Math.round((blocked / total) * 1000) / 10,
    framework: reported !== null || decided === 0 ? "Custom Python" : "MCP",
    total_logs: total,
    blocked_count: blocked,
    allowed_count: agent.allowed + (reported?.allowed ?? 0),
  };
}
