import { noRequirement } from "../requirement.js";
import type { Agent, Approval, ApprovalStatus, LedgerRecord } from "./backend.js";
import type {
  OriginalAgent,
  OriginalApprovalStatus,
  OriginalEntry,
  OriginalPending,
} from "./original-api.js";

/** The rows of the original, as people see ours. */
export function agentOf(row: OriginalAgent): Agent {
  const { name, status, owner, created_at, allowed_count, blocked_count } = row;
  const known = status === "REGISTERED" || status === "ACTIVE" || status === "COMPLETED";
  const reason = status === "PAUSED" ? "" : `its status is "${status}", which is none that is known`;
  return {
    name,
    // A status that is not known stops every call here.
    status: known ? "ACTIVE" : "KILLED",
    lifecycle: known ? status : "REGISTERED",
    owner,
    createdAt: isoTime(created_at),
    killed: known ? null : { by: "somebody", at: "an unknown time", reason },
    allowed: allowed_count,
    blocked: blocked_count,
    held: 0,
  };
}

const statuses: Record<Exclude<OriginalApprovalStatus, null>, ApprovalStatus> = {
  PENDING: "pending",
  APPROVED: "approved",
  DENIED: "denied",
};

export function approvalOfPending(
  { id, agent_name, action, args_json, created_at }: OriginalPending,
  status: Exclude<OriginalApprovalStatus, null> = "PENDING",
): Approval {
  const cut = action.indexOf("__");
  return {
    id,
    agent: agent_name,
    principal: "",
    server: cut < 0 ? "" : action.slice(0, cut),
    tool: cut < 0 ? action : action.slice(cut + 2),
    action,
    arguments: args_json,
    status: statuses[status],
    rule: null,
    reason: "",
    digest: "",
    redacted: "",
    requirement: noRequirement,
    votes: [],
    // It does not say who waits.
    waiting: status === "PENDING",
    createdAt: isoTime(created_at),
    expiresAt: "",
    decidedAt: null,
    decidedBy: null,
    decidedReason: null,
  };
}

export function recordOf({
  id,
  timestamp,
  agent_name,
  action,
  status,
  details,
}: OriginalEntry): LedgerRecord {
  return {
    id,
    at: isoTime(timestamp),
    kind: "log",
    agent: agent_name,
    action,
    decision: status,
    reason: details,
  };
}

/** `2026-11-22 18:45:03` in UTC; what is no time stays what it is. */
function isoTime(text: string): string {
  const at = new Date(`${text.replace(" ", "T")}Z`);
  return Number.isNaN(at.getTime()) ? text : at.toISOString();
}
