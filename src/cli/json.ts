/** The shapes of `--json`, which scripts rely on: snake_case, and the names of the design page. */
import type { Agent, Approval, Grant, KillReceipt, LedgerRecord, Token } from "../client/backend.js";
import { voteToWire } from "../client/wire/approvals.js";
import type { Requirement } from "../requirement.js";

export function agentJson(agent: Agent): unknown {
  return {
    name: agent.name,
    status: agent.status,
    owner: agent.owner,
    created_at: agent.createdAt,
    killed: agent.killed,
    allowed: agent.allowed,
    blocked: agent.blocked,
    held: agent.held,
  };
}

/**
 * JSON text: the arguments stand in it as they were written, numbers beyond 2^53 too.
 *
 * @param beside what is known of it beside itself
 */
export function approvalJson(
  approval: Approval,
  beside: { readonly alike?: readonly number[]; readonly grant?: number | null } = {},
): string {
  const shown = JSON.stringify({
    id: approval.id,
    agent: approval.agent,
    principal: approval.principal,
    action: approval.action,
    server: approval.server,
    tool: approval.tool,
    ...(approval.stage === undefined ? {} : { stage: approval.stage }),
    arguments: null,
    status: approval.status,
    rule: approval.rule,
    reason: approval.reason,
    digest: approval.digest,
    requirement: requirementJson(approval.requirement),
    votes: approval.votes.map(voteToWire),
    ...beside,
    waiting: approval.waiting,
    created_at: approval.createdAt,
    expires_at: approval.expiresAt,
    decided_at: approval.decidedAt,
    decided_by: approval.decidedBy,
    decided_reason: approval.decidedReason,
  });
  // The first such text is ours: a quotation mark in a value before it would be escaped.
  return shown.replace('"arguments":null', () => `"arguments":${argumentsJson(approval.arguments)}`);
}

function requirementJson({ grant, ...same }: Requirement): unknown {
  if (grant === null) return { ...same, grant };
  return { ...same, grant: { uses: grant.uses, expires_ms: grant.expires, arguments: grant.arguments } };
}

export function grantJson(grant: Grant): unknown {
  return {
    id: grant.id,
    approval: grant.approval,
    agent: grant.agent,
    principal: grant.principal,
    action: grant.action,
    server: grant.server,
    tool: grant.tool,
    arguments: grant.arguments,
    uses: grant.uses,
    left: grant.left,
    status: grant.status,
    created_at: grant.createdAt,
    created_by: grant.createdBy,
    expires_at: grant.expiresAt,
  };
}

function argumentsJson(text: string): string {
  if (text === "") return "null";
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(text);
  }
}

export function recordJson(record: LedgerRecord): unknown {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [snakeCase(name), value]));
}

export function tokenJson(token: Token): unknown {
  return {
    id: token.id,
    name: token.name,
    role: token.role,
    agent: token.agent,
    groups: token.groups,
    created_at: token.createdAt,
    expires_at: token.expiresAt,
    revoked_at: token.revokedAt,
  };
}

export function receiptJson(receipt: KillReceipt, backend: string): unknown {
  return {
    agent: receipt.agent,
    status: "KILLED",
    already: receipt.already,
    backend,
    gateways: receipt.gateways,
    confirmed: receipt.gateways.filter((gateway) => gateway.confirmed).length,
    voided: receipt.voided,
  };
}

function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
