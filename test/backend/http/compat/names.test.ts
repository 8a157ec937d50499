/** Names in paths (threat Z20): encoded, and as the original SDK's client leaves them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { spellNames } from "../../../../src/backend/http/compat/path-names.js";
import { type Compat, startCompat } from "../../../fixtures/backend/compat.js";

const odd = [
  "with space",
  "a/b",
  "a/b/c",
  "/",
  "a//b",
  "läufer",
  "机器人",
  "🤖",
  ".",
  "..",
  "../x",
  "../../sdk/init",
  "a?b",
  "a?b#c",
  "a#b",
  "50%",
  "50%25",
  "%2e%2e",
  "a&b=c",
  "a+b",
  "a;b",
  "a:b",
  "a\\b",
  '"quoted"',
  "'; DROP TABLE agents; --",
  "<script>",
  "__proto__",
  "constructor",
  "logs",
  "n".repeat(256),
  "ü".repeat(256),
];

let server: Compat;
beforeAll(async () => {
  server = await startCompat();
});
afterAll(() => server.close());

describe("an agent of an odd name", () => {
  it.each(odd.map((name) => [name.slice(0, 30), name]))(
    "is itself in every path, and no other: %s",
    async (_, name) => {
      const path = encodeURIComponent(name);
      const action = "read/it?";
      const own = await server.tokenFor(name);
      await server.did("/sdk/register-agent", own, { name, owner: "ana" });
      for (const as of [own, "gateway"])
        expect(await server.said(`/sdk/agent-status/${path}`, as)).toEqual({ status: "REGISTERED" });
      await server.did("/sdk/register-policy", own, { agent_name: name, action, rule_type: "BLOCK" });
      for (const as of [own, "gateway"]) {
        const rule = await server.said(`/sdk/policy/${path}/${encodeURIComponent(action)}`, as);
        expect(rule).toEqual({ rule_type: "BLOCK" });
      }
      expect(await server.said(`/sdk/policies/${path}`, own)).toEqual({
        policies: [{ action, rule_type: "BLOCK" }],
      });
      // `sdk__` comes in front of it.
      const longest = encodeURIComponent(name.slice(0, 251));
      expect(await server.said(`/sdk/find-approval/${path}/${longest}`, own)).toEqual({ approval: null });
      const body = { agent_name: name, action: "pay" };
      const { approval_id: id } = await server.did("/sdk/approval", own, body);
      expect(await server.said(`/sdk/approval-status/${id}`, own)).toEqual({ status: "PENDING" });
      expect(await server.said(`/agents/${path}/logs`, "auditor")).toMatchObject([
        { agent_name: name, action: "pay", status: "PENDING" },
      ]);
      expect((await server.said(`/agents/${path}/policies`, "auditor")).blocked).toEqual([action]);
      const query = new URLSearchParams({ agent_name: name });
      expect((await server.said(`/sdk/audit-log?${query}`, "auditor")).entries).toHaveLength(1);
      await server.did(`/agents/${path}/toggle`, "admin", { status: "PAUSED" });
      const stopped = (await server.service.agents()).filter((agent) => agent.status === "KILLED");
      expect(stopped.map((agent) => agent.name)).toEqual([name]);
      expect(await server.said(`/sdk/agent-status/${path}`, own)).toEqual({ status: "PAUSED" });
      await server.did("/sdk/update-status", "admin", { name, status: "ACTIVE" });
    },
  );

  it("is not somebody else where the path before it is spelled otherwise", async () => {
    await server.did("/sdk/register-agent", "gateway", { name: "b2" });
    for (const path of [
      "/sdk/agent%2Dstatus/b2",
      "/sdk/polic%69es/b2",
      "/sdk/polic%79/b2/pay",
      "/sdk/find%2Dapproval/b2/pay",
    ])
      expect([path, (await server.ask(path, { token: "gateway" })).status]).toEqual([path, 404]);
    expect(await server.said("/sdk/agent-status/b2", "gateway")).toEqual({ status: "REGISTERED" });
  });

  it.each([
    ["", "is empty"],
    ["a\0b", "cannot be seen"],
    ["a\u200db", "cannot be seen"],
    [" a", "white space"],
    ["u\u0308", "normal form"],
    ["n".repeat(257), "longer"],
  ])("is refused where it can be no name: %j", async (name, why) => {
    const path = encodeURIComponent(name);
    for (const [method, url, body] of [
      ["POST", "/sdk/register-agent", { name }],
      ["POST", "/sdk/update-status", { name, status: "PAUSED" }],
      ["POST", "/sdk/log", { agent_name: name, action: "x", status: "ALLOWED" }],
      ["POST", "/sdk/approval", { agent_name: name, action: "x" }],
      ["POST", "/sdk/approval", { agent_name: "bot", action: name }],
      ["POST", "/sdk/register-policy", { agent_name: "bot", action: name, rule_type: "BLOCK" }],
    ] as const) {
      const answer = await server.ask(url, {
        method,
        token: body && "status" in body && body.status === "PAUSED" ? "admin" : "gateway",
        body,
      });
      expect([url, answer.status]).toEqual([url, 422]);
      expect(answer.json.detail[0].msg).toContain(why);
    }
    if (name === "") return;
    for (const [url, as] of [
      [`/sdk/agent-status/${path}`, "gateway"],
      [`/sdk/policies/${path}`, "gateway"],
      [`/sdk/policy/${path}/x`, "gateway"],
      [`/sdk/policy/bot/${path}`, "gateway"],
      [`/agents/${path}/logs`, "auditor"],
      [`/agents/${path}/policies`, "auditor"],
    ] as const) {
      const answer = await server.get(url, as);
      expect([url, answer.status]).toEqual([url, 422]);
      expect(answer.json.detail[0].msg).toContain(why);
    }
  });
});

describe("a path whose names are not encoded", () => {
  beforeAll(async () => {
    for (const name of ["slash/agent", "slash/agent/deep", "query?agent", "40%"]) {
      await server.did("/sdk/register-agent", "gateway", { name });
      await server.did("/sdk/register-policy", "gateway", {
        agent_name: name,
        action: "act",
        rule_type: "BLOCK",
      });
    }
  });

  it("is answered for the agent that is meant", async () => {
    const blocked = { rule_type: "BLOCK" };
    for (const name of ["slash/agent", "query?agent", "40%"]) {
      const own = await server.tokenFor(name);
      for (const as of [own, "gateway"]) {
        expect(await server.said(`/sdk/agent-status/${name}`, as)).toEqual({ status: "REGISTERED" });
        expect(await server.said(`/sdk/policy/${name}/act`, as)).toEqual(blocked);
        expect(await server.said(`/sdk/find-approval/${name}/act`, as)).toEqual({ approval: null });
        expect((await server.said(`/sdk/policies/${name}`, as)).policies).toHaveLength(1);
      }
    }
    // An agent `slash/agent` with an action `deep/act`, or the agent `slash/agent/deep`: only its token tells.
    expect((await server.get("/sdk/policy/slash/agent/deep/act", "gateway")).status).toBe(404);
    const deep = await server.tokenFor("slash/agent/deep");
    expect(await server.said("/sdk/policy/slash/agent/deep/act", deep)).toEqual(blocked);
    const short = await server.tokenFor("slash/agent");
    expect(await server.said("/sdk/policy/slash/agent/deep/act", short)).toEqual({ rule_type: null });
  });

  it("is not found where it cannot be told, and never answered for another agent", async () => {
    await server.did("/sdk/register-agent", "gateway", { name: "query" });
    for (const path of [
      "/sdk/agent-status/query?unknown",
      "/sdk/policy/query?unknown/act",
      "/sdk/policy/query/act?x",
      "/sdk/policy/nobody/knows/this",
      "/sdk/policy/query",
      `/sdk/policy/${"a/".repeat(300)}a`,
      "/sdk/agent-status/../audit-log",
    ])
      expect([path, (await server.get(path, "gateway")).status]).toEqual([
        path,
        path.includes("..") ? 200 : 404,
      ]);
    // A server has no parent folders: the name is what stands there.
    expect(await server.said("/sdk/agent-status/../audit-log", "gateway")).toEqual({ status: null });
    expect(await server.said("/sdk/policy/query/act%3Fx", "gateway")).toEqual({ rule_type: null });
    const foreign = await server.tokenFor("another");
    expect((await server.get("/sdk/agent-status/slash/agent", foreign)).status).toBe(403);
    expect((await server.get("/sdk/policy/slash/agent/act", foreign)).status).toBe(404);
    for (const path of ["/sdk/agent-status/%ff", "/sdk/policy/a/%c3%28"])
      expect([path, (await server.get(path, "gateway")).status]).toEqual([path, 400]);
  });

  it("stays as it is outside of these routes", () => {
    for (const url of [
      "/",
      "/sdk/log",
      "/stats?x=/a",
      "/agents/a/b/logs",
      "/sdk/policy",
      "/sdk/policy/a",
      "",
      "*",
    ])
      expect(spellNames(url)).toBe(url);
    expect(spellNames("/sdk/policy/a%2Fb/c")).toBe("/sdk/policy/a%2Fb/c");
    expect(spellNames("/sdk/policy/a/b/c?d")).toBe("/sdk/policy/a%2Fb/c%3Fd");
    expect(spellNames("/sdk/agent-status/50%/x?y")).toBe("/sdk/agent-status/50%25%2Fx%3Fy");
  });
});
