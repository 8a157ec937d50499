import { z } from "zod";
import { channels, type Requirement } from "../../requirement.js";
import type { Approval, ApprovalContext, DecisionOptions, Vote } from "../backend.js";
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

const grantTermsWire = z.object({
  uses: z.number().int().positive(),
  expires_ms: z.number().int().positive(),
  arguments: z.record(z.string(), z.string()),
});

/** What deciding takes. */
export const requirementWire = z.object({
  approvers: z.array(z.array(z.string())).meta({
    description: "Who approves is in one group of each list.",
  }),
  quorum: z.number().int().positive().meta({ description: "Distinct people who must approve." }),
  reason: z.boolean().meta({ description: "An approval needs a reason." }),
  channels: z.array(z.enum(channels)),
  grant: grantTermsWire.nullable().meta({ description: "What may be granted beyond this one call." }),
});

const voteWire = z.object({
  by: z.string(),
  at: timeField,
  reason: z.string(),
  grant: z
    .object({ uses: z.number().int().positive(), expires_ms: z.number().int().positive() })
    .optional()
    .meta({
      description:
        "What this person would grant beyond the one call. Only what everybody who approves gives is granted.",
    }),
});

export const approvalWire = z.object({
  id: idField,
  agent: z.string(),
  principal: z.string(),
  server: z.string(),
  tool: z.string(),
  action: z.string(),
  stage: z.literal("result").optional().meta({
    description:
      'Not about the call but about its answer, which the client has not seen: the call has run, and `arguments` is `{"result": …}`.',
  }),
  arguments: z.string().meta({
    description: "JSON text: the exact arguments while the approval is open, their redacted form afterwards.",
  }),
  status: approvalStatusField,
  rule: z.string().nullable(),
  reason: z.string(),
  digest: z.string().meta({ description: "What the approval binds; sent back with the decision." }),
  redacted: z.string().meta({ description: "JSON text: what the ledger holds of the arguments." }),
  revision: z.string().nullable().optional().meta({ description: "The policy it was asked under." }),
  requirement: requirementWire,
  votes: z.array(voteWire).meta({ description: "Who has approved so far." }),
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
  grant: z
    .strictObject({
      uses: z.int().min(1).optional(),
      expires_ms: z.int().min(1).optional(),
    })
    .optional()
    .meta({
      description: "Grants the same to calls like this one: all that its requirement offers, or less of it.",
    }),
});

/** `GET /v1/approvals/:id/context`. */
export const contextWire = z.object({
  definition: z.string().nullable().meta({ description: "The tool as it was shown, JSON text." }),
  previous: z
    .object({
      id: idField,
      redacted: z.string(),
      decided_by: z.string().nullable(),
      decided_at: timeField.nullable(),
      definition: z.string().nullable(),
    })
    .nullable()
    .meta({ description: "The newest approval of this agent, action and stage that was used." }),
  alike: z.array(idField).meta({ description: "The open approvals of the very same call." }),
});

/** `POST /v1/approvals/:id/detach`. */
export const detachRequest = z.strictObject({ call: callField });

/** `POST /v1/approvals/:id/answer`. */
export const answerRequest = z.strictObject({ call: callField });

/** As {@link DecisionOptions} has it. */
export function grantFromRequest({
  uses,
  expires_ms,
}: NonNullable<z.infer<typeof decisionRequest>["grant"]>): NonNullable<DecisionOptions["grant"]> {
  return {
    ...(uses === undefined ? {} : { uses }),
    ...(expires_ms === undefined ? {} : { expires: expires_ms }),
  };
}

export function contextToWire({ definition, previous, alike }: ApprovalContext): z.infer<typeof contextWire> {
  if (previous === null) return { definition, previous, alike: [...alike] };
  const { decidedBy, decidedAt, ...same } = previous;
  return {
    definition,
    previous: { ...same, decided_by: decidedBy, decided_at: decidedAt },
    alike: [...alike],
  };
}

export function contextFromWire({
  definition,
  previous,
  alike,
}: z.infer<typeof contextWire>): ApprovalContext {
  if (previous === null) return { definition, previous, alike };
  const { decided_by, decided_at, ...same } = previous;
  return { definition, previous: { ...same, decidedBy: decided_by, decidedAt: decided_at }, alike };
}

export function approvalToWire(approval: Approval): ApprovalWire {
  const { createdAt, expiresAt, decidedAt, decidedBy, decidedReason, requirement, votes, ...same } = approval;
  return {
    ...same,
    requirement: requirementToWire(requirement),
    votes: votes.map(voteToWire),
    created_at: createdAt,
    expires_at: expiresAt,
    decided_at: decidedAt,
    decided_by: decidedBy,
    decided_reason: decidedReason,
  };
}

export function approvalFromWire(wire: ApprovalWire): Approval {
  const { created_at, expires_at, decided_at, decided_by, decided_reason, requirement, revision, ...other } =
    wire;
  const { stage, votes, ...same } = other;
  return {
    ...same,
    ...(revision === undefined ? {} : { revision }),
    ...(stage === undefined ? {} : { stage }),
    requirement: requirementFromWire(requirement),
    votes: votes.map(voteFromWire),
    createdAt: created_at,
    expiresAt: expires_at,
    decidedAt: decided_at,
    decidedBy: decided_by,
    decidedReason: decided_reason,
  };
}

/** Also as `--json` has it. */
export function voteToWire({ grant, ...same }: Vote): z.infer<typeof voteWire> {
  return grant === undefined ? same : { ...same, grant: { uses: grant.uses, expires_ms: grant.expires } };
}

function voteFromWire({ grant, ...same }: z.infer<typeof voteWire>): Vote {
  return grant === undefined ? same : { ...same, grant: { uses: grant.uses, expires: grant.expires_ms } };
}

function requirementToWire({
  approvers,
  grant,
  channels: by,
  ...same
}: Requirement): z.infer<typeof requirementWire> {
  return {
    ...same,
    approvers: approvers.map((groups) => [...groups]),
    channels: [...by],
    grant: grant && { uses: grant.uses, expires_ms: grant.expires, arguments: { ...grant.arguments } },
  };
}

function requirementFromWire({ grant, ...same }: z.infer<typeof requirementWire>): Requirement {
  return {
    ...same,
    grant: grant && { uses: grant.uses, expires: grant.expires_ms, arguments: grant.arguments },
  };
}
