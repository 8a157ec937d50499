/** The requests of the Python SDK (aegis-sentinel 2.0.0) as it sends them, recorded from it: its whole life. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Compat, startCompat } from "../../../fixtures/backend/compat.js";
import type { Answer } from "../../../fixtures/backend/http.js";

const agent = "Billing Bot";

let server: Compat;
let token: string;
beforeEach(async () => {
  server = await startCompat();
  token = await server.tokenFor(agent, true);
});
afterEach(() => server.close());

/** As httpx sends it for `AEGIS_BACKEND_URL=http://sdk:TOKEN@HOST`. */
function send(method: "GET" | "POST", path: string, body?: unknown, secret = token): Promise<Answer> {
  const { host } = new URL(server.url);
  return server.ask(path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: {
      host,
      accept: "*/*",
      "accept-encoding": "gzip, deflate",
      connection: "keep-alive",
      "user-agent": "python-httpx/0.28.1",
      authorization: `Basic ${Buffer.from(`sdk:${secret}`).toString("base64")}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
  });
}

async function json(method: "GET" | "POST", path: string, body?: unknown): Promise<Answer["json"]> {
  const answer = await send(method, path, body);
  // `raise_for_status()`
  if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${answer.text}`);
  return answer.json;
}

/** The decorator `@agent`, at import. */
async function register(allows: string[], blocks: string[], review: string[]): Promise<void> {
  await json("POST", "/sdk/init", {});
  await json("POST", "/sdk/register-agent", { name: agent, owner: "ana" });
  for (const [rule, actions] of [
    ["ALLOW", allows],
    ["BLOCK", blocks],
    ["REVIEW", review],
  ] as const)
    for (const action of actions)
      await json("POST", "/sdk/register-policy", { agent_name: agent, action, rule_type: rule });
}

const path = "Billing%20Bot";

/** The decorator `@monitor`, around a function that says what it did. */
async function call(action: string, poll: (id: number) => Promise<void> = async () => {}): Promise<string> {
  const log = (status: string, details: string) =>
    json("POST", "/sdk/log", { agent_name: agent, action, status, details });
  const refuse = async (status: string, details: string): Promise<string> => {
    await log(status, details);
    return status;
  };
  const killed = `Agent '${agent}' is PAUSED.`;
  const blocked = `Action '${action}' is blocked by policy.`;
  if ((await json("GET", `/sdk/agent-status/${path}`)).status === "PAUSED") return refuse("KILLED", killed);
  const { rule_type: rule } = await json("GET", `/sdk/policy/${path}/${action}`);
  if (rule === "BLOCK") return refuse("BLOCKED", blocked);
  if (rule !== "ALLOW") {
    const { approval } = await json("GET", `/sdk/find-approval/${path}/${action}`);
    expect(approval).toBeNull();
    const args_json = JSON.stringify({ args: "(1,)", kwargs: "{'to': 'bob'}" });
    const { approval_id: id } = await json("POST", "/sdk/approval", { agent_name: agent, action, args_json });
    await log("PENDING", `Approval #${id} — waiting for human decision.`);
    let { status } = await json("GET", `/sdk/approval-status/${id}`);
    expect(status).toBe("PENDING");
    await poll(id);
    ({ status } = await json("GET", `/sdk/approval-status/${id}`));
    if (status === "DENIED") return refuse("BLOCKED", blocked);
    expect(status).toBe("APPROVED");
  }
  await log("ALLOWED", `Action '${action}' executed successfully.`);
  return "ran";
}

const decide = (decision: string) => async (id: number) => {
  await server.did(`/approvals/${id}/decide`, "approver", { decision });
};

describe("the Python SDK", () => {
  it("runs what is allowed, not what is blocked, and waits for a person", async () => {
    await register(["read_file"], ["drop_table", "both"], ["pay", "both"]);
    expect(await call("read_file")).toBe("ran");
    expect(await call("drop_table")).toBe("BLOCKED");
    expect(await call("both")).toBe("BLOCKED");
    expect(await call("pay", decide("APPROVED"))).toBe("ran");
    expect(await call("pay", decide("DENIED"))).toBe("BLOCKED");
    expect(await call("unlisted", decide("APPROVED"))).toBe("ran");
    const { entries } = await server.said(
      `/sdk/audit-log?limit=30&agent_name=${agent}`.replace(" ", "+"),
      "auditor",
    );
    const said = (entries as Array<{ action: string; status: string }>).map(
      (one) => `${one.action} ${one.status}`,
    );
    expect(said).toEqual([
      "read_file ALLOWED",
      "drop_table BLOCKED",
      "both BLOCKED",
      // What we recorded when it asked, and what it says itself.
      "pay PENDING",
      "pay PENDING",
      "pay APPROVED",
      "pay ALLOWED",
      "pay PENDING",
      "pay PENDING",
      "pay DENIED",
      "pay BLOCKED",
      "unlisted PENDING",
      "unlisted PENDING",
      "unlisted APPROVED",
      "unlisted ALLOWED",
    ]);
    expect((await server.service.verify()).ok).toBe(true);
  });

  it("is stopped by `sentinel kill` with an admin's URL, also while it waits and after a restart, until `revive`", async () => {
    await register(["read_file"], [], ["pay"]);
    const set = (status: string, name = agent) =>
      send("POST", "/sdk/update-status", { name, status }, server.tokens.admin);
    const killed = await call("pay", async () => {
      expect((await set("PAUSED")).json).toEqual({ status: "ok" });
    });
    expect(killed).toBe("BLOCKED");
    expect(await call("read_file")).toBe("KILLED");
    await register(["read_file"], [], ["pay"]);
    expect(await call("read_file")).toBe("KILLED");
    expect((await set("ACTIVE")).json).toEqual({ status: "ok" });
    expect(await call("read_file")).toBe("ran");
    // A mistyped name used to be told “has been PAUSED”.
    expect((await set("PAUSED", "Biling Bot")).status).toBe(404);
  });

  it("gets no further without a token, with another agent's, or with one that was revoked", async () => {
    await register(["read_file"], [], []);
    expect((await server.ask(`/sdk/agent-status/${path}`)).status).toBe(401);
    const other = await server.tokenFor("Other Bot");
    expect((await send("GET", `/sdk/agent-status/${path}`, undefined, other)).status).toBe(403);
    const { id } = (await server.service.tokens()).find((one) => one.agent === agent) ?? { id: 0 };
    await server.service.revokeToken(id, {
      name: "os:ada",
      role: "admin",
      agent: null,
      groups: [],
      token: null,
    });
    expect((await send("GET", `/sdk/agent-status/${path}`)).status).toBe(401);
  });
});
