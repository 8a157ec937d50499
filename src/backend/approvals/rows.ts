import type { Approval, ApprovalStatus, Vote, Waiting } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { noRequirement, type Requirement } from "../../requirement.js";
import { isoTime } from "../time.js";

export interface ApprovalRow {
  readonly id: number;
  readonly agent: string;
  readonly principal: string;
  readonly server: string;
  readonly tool: string;
  readonly action: string;
  readonly definition: string;
  readonly arguments: string;
  readonly redacted: string;
  readonly status: ApprovalStatus;
  readonly rule: string | null;
  readonly reason: string;
  readonly digest: string;
  readonly created_at: number;
  readonly expires_at: number;
  readonly decided_at: number | null;
  readonly decided_by: string | null;
  readonly decided_token: number | null;
  readonly decided_reason: string | null;
  readonly waiter_gateway: string | null;
  readonly waiter_call: string | null;
  readonly consumed_call: string | null;
  /** Bytes of what it asks about, as long as it is open. */
  readonly size: number;
  /** JSON of a {@link Requirement}; null where one approver is all it takes. */
  readonly requirement: string | null;
  readonly revision: string | null;
  readonly tool_version: number | null;
  /** `result`: it is about the answer of a call that has run. */
  readonly stage: "result" | null;
}

/** What is written down of an approval that time or a kill has ended: without the texts, which may be long. */
export type EndedRow = Pick<
  ApprovalRow,
  "id" | "agent" | "server" | "tool" | "action" | "digest" | "expires_at" | "size"
>;
/** Its columns. */
export const endedColumns = "id, agent, server, tool, action, digest, expires_at, size";

/** Of a row that is open. */
export const openCondition = "status IN ('pending', 'approved')";

/** @param live ids of the gateways that are alive: a waiter behind a dead one is gone */
export function approvalOf(row: ApprovalRow, live: ReadonlySet<string>, votes: readonly Vote[]): Approval {
  return {
    id: row.id,
    agent: row.agent,
    principal: row.principal,
    server: row.server,
    tool: row.tool,
    action: row.action,
    ...(row.stage === null ? {} : { stage: row.stage }),
    arguments: row.arguments,
    status: row.status,
    rule: row.rule,
    reason: row.reason,
    digest: row.digest,
    redacted: row.redacted,
    requirement: requirementOf(row),
    revision: row.revision,
    votes,
    waiting: isOpen(row) && row.waiter_gateway !== null && live.has(row.waiter_gateway),
    createdAt: isoTime(row.created_at),
    expiresAt: isoTime(row.expires_at),
    decidedAt: row.decided_at === null ? null : isoTime(row.decided_at),
    decidedBy: row.decided_by,
    decidedReason: row.decided_reason,
  };
}

/** What deciding it takes. */
export function requirementOf({ requirement }: Pick<ApprovalRow, "requirement">): Requirement {
  return requirement === null ? noRequirement : (JSON.parse(requirement) as Requirement);
}

export function waitingOf(row: ApprovalRow, status = row.status): Waiting {
  return { id: row.id, status, expiresAt: isoTime(row.expires_at) };
}

export function isOpen({ status }: ApprovalRow): boolean {
  return status === "pending" || status === "approved";
}

/** What has become of an approval, as a sentence without its full stop. */
export function settledText(row: ApprovalRow): string {
  const said = row.decided_reason ? ` (${row.decided_reason})` : "";
  const decided = `${row.decided_by ?? "somebody"} at ${isoTime(row.decided_at ?? row.created_at)}${said}`;
  switch (row.status) {
    case "pending":
      return `Approval ${row.id} waits for a decision`;
    case "approved":
      return `Approval ${row.id} was approved by ${decided}`;
    case "denied":
      return `Approval ${row.id} was denied by ${decided}`;
    case "consumed":
      return `Approval ${row.id} was approved by ${decided} and has been used`;
    case "expired":
      return expiredText(row);
    case "void":
      return `Approval ${row.id} is void${said}`;
  }
}

export function expiredText({ id, expires_at }: EndedRow): string {
  return `Approval ${id} expired at ${isoTime(expires_at)}`;
}

export function settledError(row: ApprovalRow): AegisError {
  return new AegisError("approval_settled", `${settledText(row)}; nothing was changed.`, {
    hint:
      row.stage === "result"
        ? "The call has run; repeating it runs it again."
        : "When the call is repeated, it asks again.",
  });
}

export function unknownApproval(id: number): AegisError {
  return new AegisError("unknown_approval", `There is no approval ${id}.`, {
    hint: "`aegis approvals` lists those that wait.",
  });
}
