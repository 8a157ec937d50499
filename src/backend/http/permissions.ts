import type { Principal, Role } from "../../client/backend.js";

/** A role; `gateway` is the role agent with a token that names no agent: a gateway which serves many. */
export type Caller = Role | "gateway";

/** Who may use a route; `public` is everybody, without a credential. */
export type Access = readonly Caller[] | "public";

const anyone: Access = ["agent", "approver", "admin", "auditor"];
const people: Access = ["approver", "admin", "auditor"];
const decider: Access = ["approver", "admin"];
const reader: Access = ["admin", "auditor"];

/**
 * Who may use which route: the one table, in sections by who answers. A route that is registered and not in it makes
 * the start fail, and so does a row without a route: nothing is open because somebody forgot. No role that can run
 * tools stands in a row that decides, kills, revives, or changes policies or tokens (invariant 5); the one exception is
 * `answer`, which decides only where a policy says that the client itself may.
 *
 * A token of role agent that names its agent speaks for that one only: `requireOwnAgent` in the handler says so.
 */
export const permissions = {
  core: {
    "GET /healthz": "public",
    "GET /readyz": "public",
    "GET /metrics": reader,
    "GET /openapi.json": anyone,
    "GET /docs": anyone,
    "GET /docs/json": anyone,
    "GET /docs/yaml": anyone,
    "GET /docs/static/index.html": anyone,
    "GET /docs/static/swagger-initializer.js": anyone,
    "GET /docs/static/*": anyone,
    "HEAD /docs/static/*": anyone,
  },
  v1: {
    "GET /v1": "public",
    "GET /v1/whoami": anyone,
    "POST /v1/authenticate": ["gateway"],

    "POST /v1/gateways": ["agent"],
    "POST /v1/gateways/heartbeat": ["agent"],
    "POST /v1/gateways/heard": ["agent"],
    "POST /v1/gateways/leave": ["agent"],
    "GET /v1/gateways/events": ["agent"],
    "GET /v1/gateways": people,

    "POST /v1/agents": ["agent", "admin"],
    "GET /v1/agents": people,
    "POST /v1/kill": ["admin"],
    "POST /v1/revive": ["admin"],

    "POST /v1/decisions": ["agent"],
    "POST /v1/decisions/release": ["agent"],
    "POST /v1/outcomes": ["agent"],
    "POST /v1/notes": ["agent"],

    "POST /v1/approvals/:id/detach": ["agent"],
    "POST /v1/approvals/:id/answer": ["agent"],
    "GET /v1/approvals": people,
    "GET /v1/approvals/:id": anyone,
    "GET /v1/approvals/:id/context": people,
    "POST /v1/approvals/:id/decision": decider,
    "GET /v1/grants": people,
    "POST /v1/grants/:id/revoke": decider,

    "GET /v1/ledger": reader,
    "GET /v1/ledger/verify": reader,
    "GET /v1/ledger/export": reader,
    "GET /v1/ledger/key": anyone,

    "GET /v1/tokens": ["admin"],
    "POST /v1/tokens": ["admin"],
    "POST /v1/tokens/:id/revoke": ["admin"],

    "POST /v1/tools/sightings": ["agent"],
    "GET /v1/tools": people,
    "POST /v1/tools/accept": ["admin"],

    "GET /v1/policies": people,
    "GET /v1/policies/revisions": people,
    "PUT /v1/policies": ["admin"],

    "GET /v1/events": people,
    "GET /v1/stats": people,
  },
  compat: {
    "POST /sdk/init": anyone,
    "POST /sdk/register-agent": ["agent", "admin"],
    "POST /sdk/register-policy": ["agent", "admin"],
    "GET /sdk/agent-status/:name": anyone,
    "GET /sdk/policy/:agent_name/:action": anyone,
    "GET /sdk/policies/:agent_name": anyone,
    "POST /sdk/log": ["agent"],
    "POST /sdk/update-status": ["agent", "admin"],
    "POST /sdk/approval": ["agent"],
    "GET /sdk/approval-status/:id": anyone,
    "POST /sdk/decide-approval/:id": decider,
    "GET /sdk/find-approval/:agent_name/:action": anyone,
    "GET /sdk/pending-approvals": people,
    "GET /sdk/audit-log": reader,

    "GET /stats": people,
    "GET /agents": people,
    "GET /agents/:name/logs": people,
    "GET /logs": people,
    "GET /agents/:name/policies": people,
    "POST /agents/:name/toggle": ["admin"],
    "GET /approvals/pending": people,
    "POST /approvals/:id/decide": decider,
  },
  /** Pages for people: whoever signed in on one, and no other credential. */
  people: {
    "GET /sign-in": "public",
    "POST /sign-in": "public",
    "POST /sign-out": decider,
    "GET /approvals": decider,
    "GET /approvals/:id": decider,
    "GET /approvals/:id/arguments": decider,
    "POST /approvals/:id": decider,
  },
  /** The way to these pages, without `--static`. */
  front: {
    "GET /": "public",
  },
  /** The dashboard's files, with `--static`. */
  pages: {
    "GET /*": anyone,
    "HEAD /*": anyone,
  },
} as const satisfies Record<string, Record<string, Access>>;

export type Section = keyof typeof permissions;

/** Null where no row speaks of the route. */
export function accessTo(section: Section, route: string): Access | null {
  const rows: Record<string, Access> = permissions[section];
  return Object.hasOwn(rows, route) ? (rows[route] ?? null) : null;
}

export function isAllowed(principal: Principal, access: readonly Caller[]): boolean {
  if (access.includes(principal.role)) return true;
  return principal.role === "agent" && principal.agent === null && access.includes("gateway");
}
