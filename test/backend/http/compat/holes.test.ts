/** What the original got wrong (`threats.md`, section 0), each as somebody would do it. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Compat, startCompat, stores } from "../../../fixtures/backend/compat.js";
import { intent, person, rawStore, waitFor } from "../../../fixtures/backend/store.js";

const agent = "claude-desktop";
let server: Compat;
beforeEach(async () => {
  server = await startCompat();
  await server.did("/sdk/register-agent", "agent", { name: agent, owner: "ana" });
});
afterEach(() => server.close());

async function open(action = "pay", args_json = '{"amount":1}', as = "agent"): Promise<number> {
  return (await server.did("/sdk/approval", as, { agent_name: agent, action, args_json })).approval_id;
}

async function statusOf(id: number, as = "agent"): Promise<string | null> {
  return (await server.said(`/sdk/approval-status/${id}`, as)).status;
}

async function ruleOf(action: string, of = agent, as = "agent"): Promise<string | null> {
  return (await server.said(`/sdk/policy/${of}/${action}`, as)).rule_type;
}

interface Entry {
  readonly id: number;
  readonly action: string;
  readonly status: string;
  readonly details: string;
}

async function entries(limit = 1_000): Promise<Entry[]> {
  return (await server.said(`/sdk/audit-log?limit=${limit}`, "auditor")).entries;
}

const declare = (action: string, rule_type: string, as = "agent", of = agent): Promise<unknown> =>
  server.did("/sdk/register-policy", as, { agent_name: of, action, rule_type });

describe("Z1: an approval found by its action", () => {
  it("is found no more: every call has its own, whatever is approved before", async () => {
    const first = await open();
    await server.did(`/approvals/${first}/decide`, "approver", { decision: "APPROVED" });
    expect(await server.said(`/sdk/find-approval/${agent}/pay`, "agent")).toEqual({ approval: null });
    // The very same call, at the same time and afterwards: one click is one call.
    const [second, third] = await Promise.all([open(), open()]);
    expect(await statusOf(first)).toBe("APPROVED");
    const fourth = await open();
    expect(new Set([first, second, third, fourth]).size).toBe(4);
    for (const id of [second, third, fourth]) expect(await statusOf(id)).toBe("PENDING");
  });

  it.each(stores)(
    "is found over $name where compat.reuse_approvals says so",
    async ({ available, start }) => {
      if (!available) return;
      const old = await start({ reuseApprovals: true });
      try {
        const path = `/sdk/find-approval/${agent}/pay`;
        expect(await old.said(path, "agent")).toEqual({ approval: null });
        const body = { agent_name: agent, action: "pay", args_json: "{}" };
        const { approval_id: first } = await old.did("/sdk/approval", "agent", body);
        const { approval_id: id } = await old.did("/sdk/approval", "agent", body);
        const shape = { id, agent_name: agent, action: "pay", args_json: "{}", status: "PENDING" };
        const created_at = expect.any(String);
        expect((await old.said(path, "agent")).approval).toStrictEqual({
          ...shape,
          created_at,
          decided_at: null,
        });
        await old.did(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" });
        const decided = { ...shape, status: "APPROVED", created_at, decided_at: created_at };
        expect((await old.said(path, "agent")).approval).toStrictEqual(decided);
        // Used up by its own call, and still the answer.
        expect((await old.said(`/sdk/approval-status/${id}`, "agent")).status).toBe("APPROVED");
        expect((await old.said(path, "agent")).approval).toStrictEqual(decided);
        expect((await old.said(`/sdk/approval-status/${first}`, "agent")).status).toBe("PENDING");
        expect((await old.get("/sdk/find-approval/other/pay", "agent")).status).toBe(403);
      } finally {
        await old.close();
      }
    },
  );

  it("runs nothing of another token of the agent, before it is used up and afterwards", async () => {
    const other = await server.tokenFor(agent);
    const id = await open();
    await server.did(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" });
    expect(await statusOf(id, other)).toBe("PENDING");
    expect((await server.service.approval(id)).status).toBe("approved");
    // Its own answer may be lost: it is told again.
    for (let times = 0; times < 2; times++) expect(await statusOf(id)).toBe("APPROVED");
    expect((await server.service.approval(id)).status).toBe("consumed");
    expect(await statusOf(id, other)).toBe("PENDING");
    expect(await statusOf(id, "approver")).toBe("APPROVED");
    const denied = await open();
    await server.did(`/approvals/${denied}/decide`, "approver", { decision: "DENIED" });
    expect(await statusOf(denied, other)).toBe("DENIED");
  });

  it("runs nothing of the agent's own code where a call through a gateway waits on it, or has used it up", async () => {
    await server.publish({ "bot.yaml": `agent: ${agent}\nreview: ['files__*']` });
    const { service } = server;
    const gateway = await service.attach({ pid: process.pid, label: "wrap files", address: null });
    // The same principal, and another call.
    const call = intent(gateway, "write", "{}", { principal: "agent" });
    const id = (await service.decide(call)).approval?.id ?? 0;
    await service.decideApproval(id, "approved", person(), "");
    expect(await statusOf(id)).toBe("PENDING");
    expect((await service.release(call, id)).decision).toBe("ALLOW");
    expect(await statusOf(id)).toBe("PENDING");
  });

  it("is used up by the answer to whoever asked, so that its exact arguments are erased", async () => {
    const id = await open("pay", '{"card":"4111","password":"hunter22"}');
    const shown = await server.said("/approvals/pending", "approver");
    expect(shown[0].args_json).toBe('{"card":"4111","password":"hunter22"}');
    await server.did(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" });
    // People who look use nothing up.
    expect(await statusOf(id, "approver")).toBe("APPROVED");
    expect((await server.service.approval(id)).status).toBe("approved");
    expect(await statusOf(id)).toBe("APPROVED");
    expect(await server.service.approval(id)).toMatchObject({
      status: "consumed",
      arguments: '{"card":"4111","password":"[redacted]"}',
    });
    const store = await rawStore(server.home);
    for (const table of ["approvals", "ledger"]) {
      const rows = JSON.stringify(store.prepare(`SELECT * FROM ${table}`).all());
      expect(rows).not.toContain("hunter22");
    }
    store.close();
  });
});

describe("Z4: no authentication", () => {
  const decide = { decision: "APPROVED" };

  it("is needed everywhere, and whoever can run tools decides, kills and revives nothing", async () => {
    const id = await open();
    const asked: ReadonlyArray<readonly [string, string, object | undefined, string]> = [
      ["POST", `/sdk/decide-approval/${id}`, decide, "approver"],
      ["POST", `/approvals/${id}/decide`, decide, "approver"],
      ["POST", `/agents/${agent}/toggle`, { status: "PAUSED" }, "admin"],
      ["POST", "/sdk/update-status", { name: agent, status: "PAUSED" }, "admin"],
    ];
    const before = await server.service.newestRecord();
    for (const [method, path, body] of asked) {
      expect((await server.ask(path, { method, body })).status, path).toBe(401);
      for (const as of ["agent", "gateway", "auditor"])
        expect((await server.ask(path, { method, token: as, body })).status, `${path} ${as}`).toBe(403);
    }
    expect(await statusOf(id)).toBe("PENDING");
    expect((await server.said(`/sdk/agent-status/${agent}`, "agent")).status).toBe("REGISTERED");
    const kinds = (await server.service.records({ limit: 100, after: before })).map(({ kind }) => kind);
    expect(kinds).not.toContain("approval");
    expect(kinds).not.toContain("kill");
    // Those who may, can.
    for (const [method, path, body, as] of asked.slice(1)) {
      expect((await server.ask(path, { method, token: as, body })).status, path).toBe(200);
    }
  });

  it("gives a token no agent but its own", async () => {
    for (const [method, path, body] of [
      ["POST", "/sdk/register-agent", { name: "other" }],
      ["POST", "/sdk/register-policy", { agent_name: "other", action: "x", rule_type: "BLOCK" }],
      ["POST", "/sdk/log", { agent_name: "other", action: "x", status: "ALLOWED" }],
      ["POST", "/sdk/approval", { agent_name: "other", action: "x" }],
      ["POST", "/sdk/update-status", { name: "other", status: "ACTIVE" }],
      ["GET", "/sdk/agent-status/other", undefined],
      ["GET", "/sdk/policy/other/x", undefined],
      ["GET", "/sdk/policies/other", undefined],
      ["GET", "/sdk/find-approval/other/x", undefined],
    ] as const) {
      const own = await server.ask(path, { method, token: "agent", body });
      expect([path, own.status, typeof own.json.detail]).toEqual([path, 403, "string"]);
    }
    expect(await server.service.agent("other")).toBeNull();
  });

  it("does not let who asked decide, under whatever role the name comes back", async () => {
    const id = await open();
    const { token } = await server.service.createToken({ name: "agent", role: "admin" }, person());
    for (const path of [`/sdk/decide-approval/${id}`, `/approvals/${id}/decide`])
      expect((await server.post(path, token, decide)).status).toBe(403);
    expect(await statusOf(id)).toBe("PENDING");
    await server.did(`/sdk/decide-approval/${id}`, "approver", decide);
  });
});

describe("Z5: a decision that is none, or comes late", () => {
  it("changes nothing, and a poller always hears one of three words", async () => {
    const id = await open();
    for (const decision of ["banana", "approved", "", "PENDING", "APPROVED "])
      expect((await server.post(`/sdk/decide-approval/${id}`, "approver", { decision })).status).toBe(400);
    expect(await statusOf(id)).toBe("PENDING");
    await server.did(`/sdk/decide-approval/${id}`, "approver", { decision: "DENIED" });
    const late = await server.post(`/sdk/decide-approval/${id}`, "admin", { decision: "APPROVED" });
    expect([late.status, late.json.detail]).toEqual([400, expect.stringContaining("denied by approver")]);
    expect(await statusOf(id)).toBe("DENIED");
  });

  it("reads DENIED where it expired, and TIMEOUT in the log (Z22)", async () => {
    await server.publish({
      "bot.yaml": "agent: '*'\nreview: [{ action: sdk__soon, approval: { expires: 100ms } }]",
    });
    const id = await open("soon");
    await waitFor(async () => (await statusOf(id)) === "DENIED", "the expiry");
    const [last] = (await entries()).slice(-1);
    expect(last).toMatchObject({ status: "TIMEOUT", action: "soon" });
    expect((await server.post(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" })).status).toBe(
      400,
    );
  });
});

describe.each(stores)("Z6: two people deciding at once, over $name", ({ available, start }) => {
  it("has one winner, and the others are told so", async ({ skip }) => {
    if (!available) skip("there is no PostgreSQL here");
    const board = await start();
    try {
      const people = await Promise.all(
        Array.from({ length: 8 }, (_, n) =>
          board.service.createToken({ name: `person-${n}`, role: "approver" }, person()),
        ),
      );
      for (let round = 0; round < 5; round++) {
        const body = { agent_name: agent, action: "pay", args_json: `${round}` };
        const { approval_id: id } = await board.did("/sdk/approval", "agent", body);
        const answers = await Promise.all(
          people.map(({ token }, n) =>
            board.post(n % 2 === 0 ? `/sdk/decide-approval/${id}` : `/approvals/${id}/decide`, token, {
              decision: n % 3 === 0 ? "APPROVED" : "DENIED",
            }),
          ),
        );
        const winners = answers.flatMap(({ status }, n) => (status === 200 ? [n] : []));
        expect(winners).toHaveLength(1);
        expect(answers.filter(({ status }) => status === 400)).toHaveLength(people.length - 1);
        const told = (winners[0] ?? -1) % 3 === 0 ? "APPROVED" : "DENIED";
        expect((await board.said(`/sdk/approval-status/${id}`, "agent")).status).toBe(told);
      }
    } finally {
      await board.close();
    }
  });
});

describe("Z9, Z10, Z23: what the log says of a decision", () => {
  it("is a row of its own that names who decided; no earlier row changes, of this approval or another", async () => {
    const ids: number[] = [];
    for (let n = 0; n < 12; n++) ids.push(await open());
    const before = await entries();
    const [first = 0] = ids;
    await server.did(`/sdk/decide-approval/${first}`, "approver", { decision: "DENIED" });
    const after = await entries();
    expect(after.slice(0, before.length)).toEqual(before);
    expect(after.slice(before.length)).toEqual([
      expect.objectContaining({
        action: "pay",
        status: "DENIED",
        details: `Approval #${first} was denied by approver.`,
      }),
    ]);
    for (const id of ids.slice(1)) expect(await statusOf(id)).toBe("PENDING");
  });

  it("tells a person's denial from a rule's", async () => {
    await server.publish({ "bot.yaml": `agent: ${agent}\nblock: [sdk__drop]` });
    const id = await open("drop");
    expect(await statusOf(id)).toBe("DENIED");
    const denied = await open();
    await server.did(`/approvals/${denied}/decide`, "approver", { decision: "DENIED" });
    const said = (await entries()).map(({ status, details }) => `${status} ${details}`);
    expect(said).toContainEqual(
      expect.stringMatching(/^BLOCKED Blocked by the rule bot\.yaml:2 block sdk__drop/),
    );
    expect(said.filter((one) => one.startsWith("DENIED"))).toEqual([
      expect.stringMatching(/^DENIED Approval #1 is void: /),
      "DENIED Approval #2 was denied by approver.",
    ]);
  });
});

describe("Z11, Z12, Z21: what is not there", () => {
  it("is a way to erase, a page elsewhere that may ask, and a session that hides", async () => {
    await open();
    const before = await entries();
    expect(before).not.toEqual([]);
    for (const as of ["admin", "gateway"])
      for (const path of ["/demo/seed", "/demo/reset"])
        expect((await server.post(path, as)).status).toBe(404);
    const foreign = { origin: "https://evil.example" };
    for (const method of ["GET", "OPTIONS"]) {
      const answer = await server.ask("/stats", { method, token: "admin", headers: foreign });
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
    }
    for (const as of ["agent", "gateway", "admin"]) await server.did("/sdk/init", as);
    expect(await entries()).toEqual(before);
    expect(await server.said("/approvals/pending", "approver")).toHaveLength(1);
    expect((await server.said("/agents", "approver")).map(({ name }: { name: string }) => name)).toEqual([
      agent,
    ]);
  });
});

describe("Z13, Z14: the kill switch", () => {
  const status = async (): Promise<string> =>
    (await server.said(`/sdk/agent-status/${agent}`, "agent")).status;
  const set = (name: string, to: string, as = "admin") =>
    server.post("/sdk/update-status", as, { name, status: to });

  it("survives registration, lifecycle and everything that is not a person's revival", async () => {
    await declare("read", "ALLOW", "admin");
    expect(await ruleOf("read")).toBe("ALLOW");
    expect((await set(agent, "PAUSED")).status).toBe(200);
    await server.did("/sdk/register-agent", "agent", { name: agent, owner: "ana" });
    await server.did("/sdk/register-agent", "admin", { name: agent, owner: "bob" });
    await server.did("/sdk/init", "agent");
    await declare("read", "ALLOW", "admin");
    for (const to of ["ACTIVE", "COMPLETED", "REGISTERED"])
      expect((await set(agent, to, "agent")).status).toBe(403);
    expect((await set(agent, "COMPLETED")).status).toBe(200);
    expect(await status()).toBe("PAUSED");
    expect(await ruleOf("read")).toBe("BLOCK");
    expect((await set(agent, "ACTIVE")).status).toBe(200);
    expect(await status()).toBe("ACTIVE");
    expect(await ruleOf("read")).toBe("ALLOW");
  });

  it("leaves an agent that starts again to say anew what it does", async () => {
    expect((await set(agent, "COMPLETED", "agent")).status).toBe(200);
    expect(await status()).toBe("COMPLETED");
    await server.did("/sdk/register-agent", "agent", { name: agent });
    expect(await status()).toBe("REGISTERED");
  });

  it("says so where the status is none, or the name nobody's", async () => {
    for (const to of ["paused", "PAUSED ", "KILLED", "", "banana"])
      expect((await set(agent, to)).status).toBe(400);
    for (const to of ["PAUSED", "ACTIVE", "COMPLETED"]) {
      const answer = await set("claude-desktpo", to);
      expect([answer.status, answer.json.detail]).toEqual([404, expect.stringContaining("claude-desktpo")]);
    }
    expect(await server.service.agent("claude-desktpo")).toBeNull();
    expect(await status()).toBe("REGISTERED");
  });

  it("reaches whatever runs: an agent that nobody knows is allowed nothing, and is known once it asks", async () => {
    await server.publish({ "all.yaml": "agent: '*'\nallow: [sdk__read]\nblock: [sdk__drop]" });
    expect(await ruleOf("read", "stranger", "gateway")).toBeNull();
    expect(await ruleOf("drop", "stranger", "gateway")).toBe("BLOCK");
    const body = { agent_name: "stranger", action: "read" };
    await server.did("/sdk/approval", "gateway", body);
    expect(await ruleOf("read", "stranger", "gateway")).toBe("ALLOW");
    await server.did("/sdk/log", "gateway", { agent_name: "reporter", action: "x", status: "ALLOWED" });
    for (const name of ["stranger", "reporter"]) expect((await set(name, "PAUSED")).status).toBe(200);
    expect(await ruleOf("read", "stranger", "gateway")).toBe("BLOCK");
  });

  it("ends what waits: an approval of a killed agent is denied, given before or asked for after (Z15)", async () => {
    const waiting = await open();
    const given = await open();
    await server.did(`/approvals/${given}/decide`, "approver", { decision: "APPROVED" });
    await set(agent, "PAUSED");
    const late = await open();
    for (const id of [waiting, given, late]) {
      expect(await statusOf(id)).toBe("DENIED");
      expect(
        (await server.post(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" })).status,
      ).toBe(400);
    }
    expect((await entries()).map(({ status: one }) => one)).toContain("KILLED");
    await set(agent, "ACTIVE");
    for (const id of [waiting, given, late]) expect(await statusOf(id)).toBe("DENIED");
    expect(await statusOf(await open())).toBe("PENDING");
  });
});

describe("what is checked when an approval is picked up (Z16)", () => {
  it("is the policy of that moment", async () => {
    const id = await open();
    await server.did(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" });
    await server.publish({ "bot.yaml": `agent: ${agent}\nblock: [sdk__pay]` });
    expect(await statusOf(id)).toBe("DENIED");
    await server.publish({ "bot.yaml": `agent: ${agent}\nreview: [sdk__pay]` });
    expect(await statusOf(id)).toBe("DENIED");
    const again = await open();
    await server.did(`/approvals/${again}/decide`, "approver", { decision: "APPROVED" });
    expect(await statusOf(again)).toBe("APPROVED");
  });

  it("is the right of whoever approved", async () => {
    const { id: number, token } = await server.service.createToken(
      { name: "eve", role: "approver" },
      person(),
    );
    const id = await open();
    await server.did(`/approvals/${id}/decide`, token, { decision: "APPROVED" });
    await server.service.revokeToken(number, person());
    expect(await statusOf(id)).toBe("DENIED");
  });
});

describe("Z17: policies that an agent's own code writes", () => {
  it("tighten, in whatever order; ALLOW needs trust", async () => {
    // As the SDK sends one that is in all three lists: the last one used to win.
    for (const rule of ["ALLOW", "BLOCK", "REVIEW"]) await declare("both", rule);
    expect(await ruleOf("both")).toBe("BLOCK");
    await declare("read", "ALLOW");
    expect(await ruleOf("read")).toBeNull();
    expect(await server.said(`/sdk/policies/${agent}`, "agent")).toEqual({
      policies: [{ action: "both", rule_type: "BLOCK" }],
    });
    const trusted = await server.tokenFor(agent, true);
    await declare("read", "ALLOW", trusted);
    expect(await ruleOf("read")).toBe("ALLOW");
  });

  it("change with its code: what it declares after it registered again replaces what it declared before", async () => {
    await declare("pay", "BLOCK");
    await declare("stays", "BLOCK");
    await server.did("/sdk/register-agent", "agent", { name: agent });
    expect(await ruleOf("pay")).toBe("BLOCK");
    await declare("pay", "REVIEW");
    expect(await ruleOf("pay")).toBe("REVIEW");
    expect(await ruleOf("stays")).toBe("BLOCK");
    // What the code does not name any more, an admin takes away.
    await declare("stays", "ALLOW", "admin");
    expect(await ruleOf("stays")).toBe("ALLOW");
  });

  it("never loosen what an admin declared, nor a file", async () => {
    const trusted = await server.tokenFor(agent, true);
    await declare("pay", "REVIEW", "admin");
    // Also by way of something stricter, and by a new start.
    await declare("pay", "BLOCK", trusted);
    expect(await ruleOf("pay")).toBe("BLOCK");
    await server.did("/sdk/register-agent", trusted, { name: agent });
    await declare("pay", "ALLOW", trusted);
    expect(await ruleOf("pay")).toBe("REVIEW");
    await declare("read", "ALLOW", trusted);
    for (const [text, rule] of [
      ["block: [sdk__read]", "BLOCK"],
      ["review: ['*__read']", "REVIEW"],
      ["default: review", "REVIEW"],
      ["default: block", "BLOCK"],
      ["allow: [sdk__read]", "ALLOW"],
      // It leaves out its default, which is then review; nobody has stated it, and the SDK asks a person too.
      ["allow: [sdk__other]", null],
    ] as const) {
      await server.publish({ "bot.yaml": `agent: ${agent}\n${text}` });
      expect([text, await ruleOf("read")]).toEqual([text, rule]);
    }
    await declare("read", "BLOCK");
    expect(await ruleOf("read")).toBe("BLOCK");
  });

  it("are shown as what they come to, together with the files", async () => {
    await server.publish({
      "bot.yaml": `agent: ${agent}\nallow: [sdk__read, files__list, 'web__*']\nblock: ['*__list']\nreview: [sdk__ask]`,
    });
    const trusted = await server.tokenFor(agent, true);
    await declare("ask", "ALLOW", trusted);
    await declare("read", "REVIEW", trusted);
    await declare("own", "ALLOW", trusted);
    await declare("ignored", "ALLOW");
    expect(await server.said(`/agents/${agent}/policies`, "admin")).toEqual({
      allowed: ["web__*"],
      blocked: ["*__list", "files__list"],
      requires_review: ["ask", "read"],
    });
  });

  it("are recorded where they are new, with who declared them", async () => {
    await declare("pay", "BLOCK");
    const { length } = await server.service.records({ limit: 1_000, kinds: ["policy"] });
    await server.did("/sdk/register-agent", "agent", { name: agent });
    await declare("pay", "BLOCK");
    const records = await server.service.records({ limit: 1_000, kinds: ["policy"] });
    expect(records).toHaveLength(length);
    expect(records.at(-1)).toMatchObject({ agent, action: "sdk__pay", principal: "agent", status: "BLOCK" });
  });
});

describe("Z24, Z26: what an agent reports", () => {
  const report = (status: string, details = "", as = "agent", action = "pay") =>
    server.post("/sdk/log", as, { agent_name: agent, action, status, details });

  it("is kept apart from what was decided, under the name of whoever reports", async () => {
    const id = await open();
    for (const status of ["APPROVED", "ALLOWED", "KILLED"])
      await report(status, `Approval #${id} was approved by ada.`);
    expect(await statusOf(id)).toBe("PENDING");
    expect((await server.said(`/sdk/agent-status/${agent}`, "agent")).status).toBe("REGISTERED");
    await report("THOUGHT", "I think.");
    const records = await server.service.records({ limit: 4 });
    expect(records.map(({ kind }) => kind)).toEqual(["report", "report", "report", "thought"]);
    for (const record of records) {
      expect(record).toMatchObject({ agent, principal: "agent", server: "sdk", action: "sdk__pay" });
      expect(record.decision).toBeUndefined();
    }
    expect(await server.service.agents()).toMatchObject([{ allowed: 0, blocked: 0, held: 1 }]);
    for (const as of ["admin", "approver", "auditor"])
      expect((await report("ALLOWED", "", as)).status).toBe(403);
    expect((await server.service.verify()).ok).toBe(true);
  });

  it("is redacted and bounded, and the log is read in bounded pieces", async () => {
    await report("ALLOWED", "sent with password=hunter22 and sk-abcdefghijklmnopqrstuvwx");
    await report("ALLOWED", "x".repeat(500_000));
    const [first, second] = (await entries()).slice(-2);
    expect(first?.details).toBe("sent with password=[redacted] and [redacted]");
    expect(second?.details.length).toBeLessThan(1_100);
    for (const limit of [0, -1, 1_001, 1e9, "1e3", "ten", "", "5.5"])
      expect([limit, (await server.get(`/sdk/audit-log?limit=${limit}`, "auditor")).status]).toEqual([
        limit,
        422,
      ]);
    expect((await server.get("/sdk/audit-log?limit=1000", "auditor")).status).toBe(200);
    expect(await server.said("/sdk/audit-log?agent_name=", "auditor")).toEqual(
      await server.said("/sdk/audit-log", "auditor"),
    );
  });
});

describe("Z29: ids that can be guessed", () => {
  it("say nothing: another's approval is as absent as one that never was", async () => {
    const id = await open();
    const mine = (await server.did("/sdk/approval", "gateway", { agent_name: "served", action: "x" }))
      .approval_id;
    const other = await server.tokenFor("other");
    const gateway = await server.service.createToken({ name: "second-gateway", role: "agent" }, person());
    for (const as of [other, gateway.token]) {
      for (const number of [id, mine, 9_999, 0, -1, "9".repeat(30)])
        expect(await server.said(`/sdk/approval-status/${number}`, as)).toEqual({ status: null });
    }
    expect(await statusOf(mine, "gateway")).toBe("PENDING");
    expect(await statusOf(mine)).toBeNull();
    // Polled by a stranger, an approved one is still there for its own.
    await server.did(`/approvals/${id}/decide`, "approver", { decision: "APPROVED" });
    expect(await server.said(`/sdk/approval-status/${id}`, other)).toEqual({ status: null });
    expect(await statusOf(id)).toBe("APPROVED");
  });
});
