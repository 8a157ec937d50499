import { z } from "zod";
import type { Approval } from "../backend.js";
import { callField, idField, numberInQuery, reasonField, textField, timeField } from "./fields.js";

export const approvalStatusField = z.enum(["pending", "approved", "denied", "expired", "void", "consumed"]);

/** Approvals of one answer. */
export const mostApprovals = 1_000;

/** `GET /v1/approvals`: the newest `limit` with an id smaller than `before`, oldest of them first. */
export const approvalsQuery = z.strictObject({
  status: approvalStatusField.optional(),
  limit: numberInQuery(1, mostApprovals).optional().meta({ description: "100, if left out." }),
  before: numberInQuery(1, Number.MAX_SAFE_INTEGER).optional(),
});

/** The id of an approval in a path. */
export const approvalParams = z.strictObject({ id: numberInQuery(1, Number.MAX_SAFE_INTEGER) });

export const approvalWire = z.object({
  id: idField,
  agent: z.string(),
  principal: z.string(),
  server: z.string(),
  tool: z.string(),
  action: z.string(),
  arguments: z.string().meta({
    description: "JSON text: the exact arguments while the approval is open, their redacted form afterwards.",
  }),
  status: approvalStatusField,
  rule: z.string().nullable(),
  reason: z.string(),
  digest: z.string().meta({ description: "What the approval binds; sent back with the decision." }),
  waiting: z.boolean().meta({ description: "False: the caller is gone." }),
  created_at: timeField,
  expires_at: timeField,
  decided_at: timeField.nullable(),
  decided_by: z.string().nullable(),
  decided_reason: z.string().nullable(),
});

export type ApprovalWire = z.infer<typeof approvalWire>;

export const approvalsAnswer = z.object({
  approvals: z.array(approvalWire),
  more: z.boolean().meta({ description: "There are older ones: ask again with `before`." }),
});

/** `POST /v1/approvals/:id/decision`. */
export const decisionRequest = z.strictObject({
  decision: z.enum(["approved", "denied"]),
  reason: reasonField.default(""),
  digest: textField(256).optional().meta({
    description: "The digest of what the approver saw: where the approval has another, nothing is decided.",
  }),
});

/** `POST /v1/approvals/:id/detach`. */
export const detachRequest = z.strictObject({ call: callField });

export function approvalToWire(approval: Approval): ApprovalWire {
  const { createdAt, expiresAt, decidedAt, decidedBy, decidedReason, ...same } = approval;
  return {
    ...same,
    created_at: createdAt,
    expires_at: expiresAt,
    decided_at: decidedAt,
    decided_by: decidedBy,
    decided_reason: decidedReason,
  };
}

export function approvalFromWire(wire: ApprovalWire): Approval {
  const { created_at, expires_at, decided_at, decided_by, decided_reason, ...same } = wire;
  return {
    ...same,
    createdAt: created_at,
    expiresAt: expires_at,
    decidedAt: decided_at,
    decidedBy: decided_by,
    decidedReason: decided_reason,
  };
}
