import type { Grant } from "../../client/backend.js";
import type { Batch } from "../batch.js";
import { redactText } from "../ledger/redact.js";
import { isoTime } from "../time.js";

export interface GrantRow {
  readonly id: number;
  readonly approval: number;
  readonly agent: string;
  readonly principal: string;
  readonly server: string;
  readonly tool: string;
  readonly action: string;
  readonly definition: string;
  readonly tool_version: number | null;
  /** JSON: patterns by argument. */
  readonly arguments: string;
  /** HMAC (hex) over all that may not differ. */
  readonly rest: string;
  /** What policy asked of the approval it was given with, and offered; text that is compared. */
  readonly requirement: string;
  readonly uses: number;
  readonly used: number;
  readonly created_at: number;
  readonly expires_at: number;
  readonly given_by: string;
  readonly given_token: number | null;
  readonly status: Grant["status"];
  readonly ended_at: number | null;
  readonly ended_by: string | null;
}

/** How a grant ends. */
export type GrantEnd = Exclude<Grant["status"], "active">;

export function grantOf(row: GrantRow): Grant {
  const { id, approval, agent, principal, server, tool, action, uses, used, status } = row;
  return {
    id,
    approval,
    agent,
    principal,
    server,
    tool,
    action,
    arguments: patternsOf(row),
    uses,
    left: uses - used,
    createdAt: isoTime(row.created_at),
    createdBy: row.given_by,
    expiresAt: isoTime(row.expires_at),
    status,
  };
}

export function patternsOf(row: Pick<GrantRow, "arguments">): Readonly<Record<string, string>> {
  return JSON.parse(row.arguments) as Record<string, string>;
}

/** What it covers, as a sentence. */
export function grantText(row: GrantRow): string {
  const named = Object.entries(patternsOf(row)).map(([name, pattern]) => `${name} like ${pattern}`);
  const what = named.length === 0 ? "with the same arguments" : `with ${named.join(", ")}`;
  return `${row.uses} calls until ${isoTime(row.expires_at)}, ${what}.`;
}

/** Writes down what became of a grant. @param by null where nobody did it */
export function recordGrant(
  batch: Batch,
  { id, approval, agent, server, tool, action }: GrantRow,
  decision: "given" | GrantEnd,
  by: string | null,
  reason: string,
): void {
  batch.records.append({
    kind: "grant",
    agent,
    ...(by === null ? {} : { principal: by }),
    server,
    tool,
    action,
    decision,
    reason: redactText(reason),
    approval,
    grant: id,
  });
}
