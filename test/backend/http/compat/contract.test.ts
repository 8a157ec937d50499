import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { permissions } from "../../../../src/backend/http/permissions.js";
import { type Compat, stores } from "../../../fixtures/backend/compat.js";

const agent = "claude-desktop";
const time = expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/);
const id = expect.any(Number);
const text = expect.any(String);

/** One request of the page, who makes it, and everything of its answer. */
interface Row {
  readonly asked: string;
  readonly as: string;
  readonly body?: unknown;
  readonly status?: number;
  readonly answer: unknown;
}

const ok = { status: "ok" };
const approval = {
  id,
  agent_name: agent,
  action: "pay",
  args_json: '{"amount": 1.0}',
  status: "PENDING",
  created_at: time,
  decided_at: null,
};
const { decided_at: _decided, ...pending } = approval;
const entry = { id, timestamp: time, agent_name: agent, action: text, status: text, details: text };
const log = { ...entry, severity: text };
const missing = (name: string) => ({ loc: ["body", name], msg: "Field required", type: "missing" });

/** In this order: the later rows see what the earlier ones did. */
const rows: readonly Row[] = [
  { asked: "GET /stats", as: "auditor", answer: figures(0, 0, 0, 0, "LOW") },
  { asked: "GET /agents", as: "auditor", answer: [] },
  { asked: "GET /logs", as: "auditor", answer: [] },
  { asked: "GET /sdk/audit-log", as: "auditor", answer: { entries: [] } },
  { asked: "POST /sdk/init", as: "agent", body: {}, answer: ok },
  { asked: `GET /sdk/agent-status/${agent}`, as: "agent", answer: { status: null } },
  { asked: "POST /sdk/register-agent", as: "agent", body: { name: agent, owner: "ana" }, answer: ok },
  { asked: "POST /sdk/register-agent", as: "agent", body: { name: agent }, answer: ok },
  {
    asked: "POST /sdk/register-agent",
    as: "agent",
    body: {},
    status: 422,
    answer: { detail: [missing("name")] },
  },
  { asked: `GET /sdk/agent-status/${agent}`, as: "agent", answer: { status: "REGISTERED" } },
  { asked: `GET /sdk/policy/${agent}/pay`, as: "agent", answer: { rule_type: null } },
  ...(["ALLOW", "REVIEW", "BLOCK", "ALLOW"] as const).flatMap((rule): Row[] => [
    {
      asked: "POST /sdk/register-policy",
      as: "admin",
      body: { agent_name: agent, action: "read", rule_type: rule },
      answer: ok,
    },
    { asked: `GET /sdk/policy/${agent}/read`, as: "agent", answer: { rule_type: rule } },
    {
      asked: `GET /sdk/policies/${agent}`,
      as: "agent",
      answer: { policies: [{ action: "read", rule_type: rule }] },
    },
  ]),
  {
    asked: "POST /sdk/register-policy",
    as: "agent",
    body: { agent_name: agent, action: "zap", rule_type: "BLOCK" },
    answer: ok,
  },
  {
    asked: "POST /sdk/register-policy",
    as: "agent",
    body: { agent_name: agent, action: "pay", rule_type: "REVIEW" },
    answer: ok,
  },
  {
    asked: `GET /agents/${agent}/policies`,
    as: "approver",
    answer: { allowed: ["read"], blocked: ["zap"], requires_review: ["pay"] },
  },
  {
    asked: "GET /agents/nobody/policies",
    as: "approver",
    answer: { allowed: [], blocked: [], requires_review: [] },
  },
  { asked: `GET /sdk/find-approval/${agent}/pay`, as: "agent", answer: { approval: null } },
  {
    asked: "POST /sdk/approval",
    as: "agent",
    body: { agent_name: agent, action: "pay", args_json: '{"amount": 1.0}' },
    answer: { approval_id: 1 },
  },
  {
    asked: "POST /sdk/approval",
    as: "agent",
    body: { agent_name: agent, action: "zip" },
    answer: { approval_id: 2 },
  },
  { asked: "GET /sdk/approval-status/1", as: "agent", answer: { status: "PENDING" } },
  { asked: "GET /sdk/approval-status/99", as: "agent", answer: { status: null } },
  {
    asked: "GET /sdk/pending-approvals",
    as: "approver",
    answer: {
      approvals: [
        { ...approval, id: 2, action: "zip", args_json: "{}" },
        { ...approval, id: 1 },
      ],
    },
  },
  {
    asked: "GET /approvals/pending",
    as: "approver",
    answer: [
      { ...pending, id: 2, action: "zip", args_json: "{}" },
      { ...pending, id: 1 },
    ],
  },
  { asked: "GET /stats", as: "approver", answer: figures(1, 0, 0, 2, "LOW") },
  {
    asked: "POST /sdk/decide-approval/1",
    as: "approver",
    body: { decision: "banana" },
    status: 400,
    answer: { detail: text },
  },
  {
    asked: "POST /sdk/decide-approval/99",
    as: "approver",
    body: { decision: "APPROVED" },
    status: 404,
    answer: { detail: text },
  },
  { asked: "POST /sdk/decide-approval/1", as: "approver", body: { decision: "APPROVED" }, answer: ok },
  {
    asked: "POST /sdk/decide-approval/1",
    as: "admin",
    body: { decision: "DENIED" },
    status: 400,
    answer: { detail: expect.stringMatching(/^Approval 1 was approved by approver /) },
  },
  { asked: "GET /sdk/approval-status/1", as: "agent", answer: { status: "APPROVED" } },
  { asked: "GET /sdk/approval-status/1", as: "agent", answer: { status: "APPROVED" } },
  {
    asked: "POST /approvals/2/decide",
    as: "approver",
    body: { decision: "MAYBE" },
    status: 400,
    answer: { detail: "Decision must be APPROVED or DENIED" },
  },
  {
    asked: "POST /approvals/99/decide",
    as: "approver",
    body: { decision: "MAYBE" },
    status: 404,
    answer: { detail: text },
  },
  {
    asked: "POST /approvals/2/decide",
    as: "approver",
    body: { decision: "DENIED" },
    answer: { status: "success", decision: "DENIED" },
  },
  {
    asked: "POST /approvals/2/decide",
    as: "approver",
    body: { decision: "DENIED" },
    status: 400,
    answer: { detail: text },
  },
  { asked: "GET /sdk/approval-status/2", as: "agent", answer: { status: "DENIED" } },
  { asked: "GET /approvals/pending", as: "approver", answer: [] },
  ...["ALLOWED", "ALLOWED", "BLOCKED", "THOUGHT"].map(
    (status): Row => ({
      asked: "POST /sdk/log",
      as: "agent",
      body: { agent_name: agent, action: "read", status, details: `It was ${status}.` },
      answer: ok,
    }),
  ),
  {
    asked: "POST /sdk/log",
    as: "agent",
    body: { agent_name: agent, action: "read", status: "KILLED" },
    answer: ok,
  },
  {
    asked: `GET /sdk/audit-log?agent_name=${agent}&limit=3`,
    as: "auditor",
    answer: {
      entries: [
        { ...entry, action: "read", status: "BLOCKED", details: "It was BLOCKED." },
        { ...entry, action: "read", status: "THOUGHT", details: "It was THOUGHT." },
        { ...entry, action: "read", status: "KILLED", details: "" },
      ],
    },
  },
  { asked: "GET /sdk/audit-log?agent_name=nobody", as: "auditor", answer: { entries: [] } },
  {
    asked: `GET /agents/${agent}/logs`,
    as: "auditor",
    answer: [
      { ...log, action: "read", status: "KILLED", severity: "critical" },
      { ...log, action: "read", status: "THOUGHT", severity: "info" },
      { ...log, action: "read", status: "BLOCKED", severity: "failure" },
      { ...log, action: "read", status: "ALLOWED", severity: "success" },
      { ...log, action: "read", status: "ALLOWED", severity: "success" },
      {
        ...log,
        action: "zip",
        status: "DENIED",
        severity: "failure",
        details: "Approval #2 was denied by approver.",
      },
      {
        ...log,
        action: "pay",
        status: "APPROVED",
        severity: "success",
        details: "Approval #1 was approved by approver.",
      },
      {
        ...log,
        action: "zip",
        status: "PENDING",
        severity: "warning",
        details: expect.stringMatching(/^Approval #2 — /),
      },
      {
        ...log,
        action: "pay",
        status: "PENDING",
        severity: "warning",
        details: expect.stringMatching(/^Approval #1 — /),
      },
    ],
  },
  { asked: "GET /agents/nobody/logs", as: "auditor", status: 404, answer: { detail: text } },
  {
    asked: "GET /agents",
    as: "approver",
    answer: [
      {
        id: `AGT-${createHash("sha256").update(agent).digest("hex").slice(0, 8)}`,
        name: agent,
        status: "REGISTERED",
        owner: "ana",
        created_at: time,
        // One of seven: two holds of ours and five reports.
        risk_score: 14.3,
        framework: "Custom Python",
        total_logs: 7,
        blocked_count: 1,
        allowed_count: 2,
      },
    ],
  },
  { asked: "GET /stats", as: "admin", answer: figures(1, 0, 1, 0, "MEDIUM") },
  { asked: "POST /sdk/update-status", as: "agent", body: { name: agent, status: "ACTIVE" }, answer: ok },
  { asked: `GET /sdk/agent-status/${agent}`, as: "agent", answer: { status: "ACTIVE" } },
  { asked: "GET /stats", as: "admin", answer: figures(1, 1, 1, 0, "MEDIUM") },
  { asked: "POST /sdk/update-status", as: "admin", body: { name: agent, status: "PAUSED" }, answer: ok },
  { asked: `GET /sdk/agent-status/${agent}`, as: "agent", answer: { status: "PAUSED" } },
  { asked: "GET /stats", as: "admin", answer: figures(1, 0, 1, 0, "MEDIUM") },
  {
    asked: `POST /agents/${agent}/toggle`,
    as: "admin",
    body: { status: "ACTIVE" },
    answer: { status: "updated", new_status: "ACTIVE" },
  },
  { asked: `GET /sdk/agent-status/${agent}`, as: "agent", answer: { status: "ACTIVE" } },
  {
    asked: `POST /agents/${agent}/toggle`,
    as: "admin",
    body: { status: "PAUSED" },
    answer: { status: "updated", new_status: "PAUSED" },
  },
  {
    asked: `POST /agents/${agent}/toggle`,
    as: "admin",
    body: { status: "COMPLETED" },
    status: 400,
    answer: { detail: "Status must be ACTIVE or PAUSED" },
  },
  {
    asked: "POST /agents/nobody/toggle",
    as: "admin",
    body: { status: "PAUSED" },
    status: 404,
    answer: { detail: text },
  },
  {
    asked: "POST /agents/nobody/toggle",
    as: "admin",
    body: { status: "ACTIVE" },
    status: 404,
    answer: { detail: text },
  },
  { asked: `GET /sdk/agent-status/${agent}`, as: "agent", answer: { status: "PAUSED" } },
];

function figures(agents: number, active: number, blocks: number, open: number, level: string): object {
  return {
    registered_agents: agents,
    active_agents: active,
    total_blocks_24h: blocks,
    pending_approvals: open,
    risk_level: level,
  };
}

describe.each(stores)("the contract over $name", ({ available, start }) => {
  let server: Compat;
  beforeAll(async () => {
    if (available) server = await start();
  });
  afterAll(() => server?.close());

  it("is answered as the page says, to the key", async ({ skip }) => {
    if (!available) skip("there is no PostgreSQL here");
    for (const [number, { asked, as, body, status = 200, answer }] of rows.entries()) {
      const [method = "", path = ""] = asked.split(" ");
      const got = await server.ask(path, { method, token: as, body });
      const which = `row ${number}: ${asked} ${JSON.stringify(body ?? null)}`;
      expect({ status: got.status, json: got.json }, which).toStrictEqual({ status, json: answer });
      expect(got.headers["content-type"], which).toMatch(/^application\/json/);
    }
    expect((await server.service.verify()).ok).toBe(true);
  });

  it("has a row for every route", () => {
    const asked = rows.map((row) => row.asked.replace(/\?.*$/, ""));
    const forms = Object.keys(permissions.compat).map(
      (row) => [row, new RegExp(`^${row.replace(/:[a-z_]+/g, "[^/]+")}$`)] as const,
    );
    expect(forms.filter(([, form]) => !asked.some((one) => form.test(one))).map(([row]) => row)).toEqual([]);
  });

  it("gives the newest entries of a log longer than any page of it", async ({ skip }) => {
    if (!available) skip("there is no PostgreSQL here");
    await server.did("/sdk/register-agent", "gateway", { name: "chatty" });
    await Promise.all(
      Array.from({ length: 120 }, (_, n) =>
        server.did("/sdk/log", "gateway", {
          agent_name: "chatty",
          action: "say",
          status: "ALLOWED",
          details: `${n}`,
        }),
      ),
    );
    const { entries } = await server.said("/sdk/audit-log?agent_name=chatty&limit=110", "auditor");
    expect(entries).toHaveLength(110);
    const ids = (entries as Array<{ id: number }>).map((one) => one.id);
    expect(ids).toEqual(ids.toSorted((one, other) => one - other));
    const logs = await server.said("/agents/chatty/logs", "auditor");
    expect(logs.map((one: { id: number }) => one.id)).toEqual(ids.toReversed().slice(0, 50));
    expect((await server.said("/sdk/audit-log", "auditor")).entries).toEqual(entries.slice(-10));
    expect(await server.said("/logs", "auditor")).toEqual(logs);
  });
});

describe("the risk level", () => {
  it("follows the blocks of the last 24 hours", async () => {
    const server = await (stores[0] ?? { start: () => Promise.reject(new Error("no store")) }).start();
    const level = async (): Promise<string> => (await server.said("/stats", "auditor")).risk_level;
    const report = async (status: string): Promise<void> => {
      const body = { agent_name: "bot", action: "x", status };
      await server.did("/sdk/log", "gateway", body);
    };
    try {
      const levels: Record<number, string> = {};
      for (let blocks = 1; blocks <= 21; blocks++) {
        await report("BLOCKED");
        levels[blocks] = await level();
      }
      expect([levels[1], levels[5], levels[6], levels[20], levels[21]]).toEqual([
        "MEDIUM",
        "MEDIUM",
        "HIGH",
        "HIGH",
        "CRITICAL",
      ]);
    } finally {
      await server.close();
    }
  });
});
