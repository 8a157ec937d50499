import { afterAll, beforeAll, expect, test } from "vitest";
import { type Api, question, startApi } from "../../../fixtures/backend/api.js";
import { agent } from "../../../fixtures/backend/store.js";

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

test("one request decides a call, and its record is there when the answer is", async () => {
  const { id } = await api.enlist("gateway");
  const asked = question(id);
  const verdict = await api.did("POST", "/v1/decisions", "gateway", asked);
  expect(verdict).toMatchObject({ call: asked.call, decision: "ALLOW", revision: expect.any(String) });
  expect(verdict.rule).toContain("files__read");
  // From before it was asked, as the gateway counts it, to the end that a kill waits for.
  expect(verdict.lease_ms).toBeGreaterThan(1_000);
  expect(verdict.lease_ms).toBeLessThanOrEqual(2_000);
  const records = (await api.records()).filter(({ call }) => call === asked.call);
  expect(records).toEqual([
    expect.objectContaining({
      id: verdict.record,
      kind: "decision",
      decision: "ALLOW",
      principal: "gateway",
    }),
  ]);
});

test("a call that is asked about twice is decided once, and its lease is given once", async () => {
  const { id } = await api.enlist("gateway");
  const asked = question(id);
  const first = await api.did("POST", "/v1/decisions", "gateway", asked);
  const again = await api.did("POST", "/v1/decisions", "gateway", asked);
  expect(again).toEqual({ ...first, lease_ms: 0 });
  expect((await api.records()).filter(({ call }) => call === asked.call)).toHaveLength(1);

  const renewed = await api.did("POST", "/v1/decisions/release", "gateway", { ...asked, approval: null });
  expect(renewed.decision).toBe("ALLOW");
  expect(renewed.lease_ms).toBeGreaterThan(0);

  const other = await api.did("POST", "/v1/decisions", "gateway", { ...asked, arguments: '{"path":"/etc"}' });
  expect(other).toMatchObject({ decision: "BLOCK", call: asked.call });
});

test("a call whose action is not its tool's name is blocked, and opens nothing that could be approved", async () => {
  const { id } = await api.enlist("gateway");
  const asked = question(id, "wipe", { action: "files__write" });
  const verdict = await api.did("POST", "/v1/decisions", "gateway", asked);
  expect(verdict).toMatchObject({ decision: "BLOCK", reason: expect.stringContaining("not the name") });
  expect(verdict.approval).toBeUndefined();
  const twin = { ...question(id, "write"), arguments: asked.arguments };
  expect((await api.did("POST", "/v1/decisions", "gateway", twin)).decision).toBe("REVIEW");
});

test("a held call runs once after its approval, which shows the arguments byte for byte", async () => {
  const { id } = await api.enlist("gateway");
  const text = '{ "n" : 1.0,"big":9007199254740993, "text":"\\u00e9 é" }';
  const asked = question(id, "write", { arguments: text });
  const held = await api.did("POST", "/v1/decisions", "gateway", asked);
  expect(held).toMatchObject({ decision: "REVIEW", approval: { status: "pending" } });
  expect(held.lease_ms).toBeUndefined();
  const path = `/v1/approvals/${held.approval.id}`;
  const shown = await api.did("GET", path, "approver");
  expect(shown.arguments).toBe(text);

  const release = { ...asked, approval: held.approval.id };
  await api.did("POST", `${path}/decision`, "approver", { decision: "approved", digest: shown.digest });
  const allowed = await api.did("POST", "/v1/decisions/release", "gateway", release);
  expect(allowed).toMatchObject({
    decision: "ALLOW",
    approval: { id: held.approval.id, status: "consumed" },
  });
  // The same again, as after a lost answer, is the same call; another one with these arguments asks anew.
  const second = await api.did("POST", "/v1/decisions/release", "gateway", release);
  expect(second).toMatchObject({ decision: "ALLOW", approval: { id: held.approval.id, status: "consumed" } });
  const other = { ...question(id, "write", { arguments: text }), approval: held.approval.id };
  expect((await api.did("POST", "/v1/decisions/release", "gateway", other)).decision).toBe("BLOCK");
  const outcomes = [outcomeOf(asked.call, { tool: "write", action: "files__write", principal: "gateway" })];
  await api.did("POST", "/v1/outcomes", "gateway", { outcomes });
  expect((await api.did("POST", "/v1/decisions/release", "gateway", release)).decision).toBe("BLOCK");
});

test("a token that is bound to an agent speaks for no other, and under its own name", async () => {
  const { id } = await api.enlist("agent");
  const asked = question(id, "read", { principal: "somebody-else" });
  await api.did("POST", "/v1/decisions", "agent", asked);
  const [record] = (await api.records()).filter(({ call }) => call === asked.call);
  expect(record?.principal).toBe("agent");

  const before = await api.service.newestRecord();
  const foreign = { ...question(id), agent: "claude-other" };
  const outcome = outcomeOf(asked.call);
  for (const [path, body] of [
    ["/v1/decisions", foreign],
    ["/v1/decisions/release", { ...foreign, approval: null }],
    ["/v1/outcomes", { outcomes: [outcome, { ...outcome, agent: "claude-other" }] }],
    ["/v1/notes", { kind: "refused", agent: "claude-other", reason: "x" }],
    ["/v1/agents", { name: "claude-other" }],
  ] as const) {
    const answer = await api.call("POST", path, "agent", body);
    expect([path, answer.status, answer.json.code]).toEqual([path, 403, "not_permitted"]);
  }
  expect(await api.service.newestRecord()).toBe(before);
  await expect(api.service.agent("claude-other")).resolves.toBeNull();
});

test("a gateway names whoever called it, but no person of the machine or of an issuer", async () => {
  const { id } = await api.enlist("gateway");
  const asked = question(id, "read", { principal: "desk-of-bob" });
  await api.did("POST", "/v1/decisions", "gateway", asked);
  const [record] = (await api.records()).filter(({ call }) => call === asked.call);
  expect(record?.principal).toBe("desk-of-bob");
  for (const principal of ["os:root", "oidc:ada", "OS:root"]) {
    const answer = await api.call("POST", "/v1/decisions", "gateway", question(id, "read", { principal }));
    expect([answer.status, answer.json.code]).toEqual([403, "not_permitted"]);
    const note = { kind: "refused", reason: "x", principal };
    expect((await api.call("POST", "/v1/notes", "gateway", note)).status).toBe(403);
  }
});

test("only a gateway that a kill would wait for is given a decision", async () => {
  const mine = await api.enlist("agent");
  const foreign = await api.enlist("gateway");
  const before = await api.service.newestRecord();
  for (const gateway of [foreign.id, "nobody", "nobody00aa"]) {
    const answer = await api.call("POST", "/v1/decisions", "agent", question(gateway));
    expect([answer.status, answer.json.code]).toEqual([404, "unknown_gateway"]);
  }
  // Another gateway's next number is not taken from it.
  const taken = await api.call(
    "POST",
    "/v1/decisions",
    "agent",
    question(mine.id, "read", { call: `${foreign.id}-1` }),
  );
  expect([taken.status, taken.json.detail[0].loc]).toEqual([422, ["body", "call"]]);
  expect(await api.service.newestRecord()).toBe(before);

  await api.did("POST", "/v1/gateways/leave", "agent", { gateway: mine.id });
  expect((await api.call("POST", "/v1/decisions", "agent", question(mine.id))).status).toBe(404);
  const back = await api.enlist("agent");
  // Through another process of the same store: it is noticed with the next sign of life.
  const principal = await api.service.authenticate(api.tokens.agent);
  if (principal === null) throw new Error("the token was made a moment ago");
  const lost = await api.enlist("agent");
  await api.service.dismiss(lost.id, principal);
  const beat = await api.did("POST", "/v1/gateways/heartbeat", "agent", { gateway: lost.id, mark: 0 });
  expect(beat).toEqual({ known: false });
  expect((await api.call("POST", "/v1/decisions", "agent", question(lost.id))).status).toBe(404);
  expect((await api.did("POST", "/v1/decisions", "agent", question(back.id))).decision).toBe("ALLOW");
});

test("arguments that are no JSON object, or that two parsers could read differently, are refused", async () => {
  const { id } = await api.enlist("gateway");
  const deep = `{"a":${"[".repeat(5_000)}${"]".repeat(5_000)}}`;
  const wrong = [
    "{",
    "[1]",
    "1",
    "null",
    '"a"',
    "{} {}",
    '{"a":1},"b":{}',
    "\u0000",
    "\ufeff{}",
    "\ud800",
    deep,
  ];
  for (const text of [...wrong, '{"a":1,"a":2}', '{"x":[{"a":1,"\\u0061":2}]}']) {
    const answer = await api.call(
      "POST",
      "/v1/decisions",
      "gateway",
      question(id, "read", { arguments: text }),
    );
    expect([text, answer.status, answer.json.detail[0].loc]).toEqual([text, 422, ["body", "arguments"]]);
  }
  for (const text of ["", "{}", '{"Name":1,"name":2,"arguments":{}}']) {
    const verdict = await api.did(
      "POST",
      "/v1/decisions",
      "gateway",
      question(id, "read", { arguments: text }),
    );
    expect(verdict.decision).toBe("ALLOW");
  }
});

test("a name that a server invented is no request error: it is blocked, and recorded", async () => {
  const { id } = await api.enlist("gateway");
  const asked = question(id, "read\u0000\u202e", { action: "files__read\u0000\u202e" });
  const verdict = await api.did("POST", "/v1/decisions", "gateway", asked);
  expect(verdict.decision).toBe("BLOCK");
  const [record] = (await api.records()).filter(({ call }) => call === asked.call);
  expect(record?.tool).toBe("read\ufffd\\u202e");
});

test("a call ends once, however often that is told", async () => {
  const { id } = await api.enlist("agent");
  const asked = question(id);
  await api.did("POST", "/v1/decisions", "agent", asked);
  const outcomes = [outcomeOf(asked.call), outcomeOf(asked.call, { outcome: "error" })];
  await api.did("POST", "/v1/outcomes", "agent", { outcomes });
  await api.did("POST", "/v1/outcomes", "agent", { outcomes });
  const ended = async () =>
    (await api.records()).filter(({ call, kind }) => call === asked.call && kind === "outcome");
  expect(await ended()).toEqual([
    expect.objectContaining({ outcome: "ok", principal: "agent", duration: 1.5 }),
  ]);
});

test("only whose call it is can say how it ended", async () => {
  const { id } = await api.enlist("agent");
  const asked = question(id);
  await api.did("POST", "/v1/decisions", "agent", asked);
  const other = await api.token("other", "claude-desktop");
  const ended = async () =>
    (await api.records()).filter(({ call, kind }) => call === asked.call && kind === "outcome");
  // The same agent, by another credential; and a call that nobody decided.
  const told = [outcomeOf(asked.call, { outcome: "error" }), outcomeOf(`${id}-never`)];
  await api.did("POST", "/v1/outcomes", other.token, { outcomes: told });
  expect(await ended()).toEqual([]);
  await api.did("POST", "/v1/outcomes", "agent", { outcomes: [outcomeOf(asked.call)] });
  expect(await ended()).toEqual([expect.objectContaining({ outcome: "ok" })]);
  expect((await api.records()).some(({ call }) => call === `${id}-never`)).toBe(false);
});

test("a token that is bound to an agent notes nothing that a door, or a gateway of many, would", async () => {
  const before = await api.service.newestRecord();
  for (const kind of ["login_refused", "server"]) {
    const answer = await api.call("POST", "/v1/notes", "agent", { kind, reason: "forged" });
    expect([kind, answer.status, answer.json.code]).toEqual([kind, 403, "not_permitted"]);
  }
  expect(await api.service.newestRecord()).toBe(before);
  for (const kind of ["login_refused", "server", "gateway", "refused"])
    await api.did("POST", "/v1/notes", "gateway", { kind, reason: "of many" });
  // What a wrap gateway says of its own start, under its own name.
  await api.did("POST", "/v1/notes", "agent", { kind: "gateway", reason: "--allow-home: x", principal: "y" });
  expect((await api.records()).find(({ reason }) => reason === "--allow-home: x")).toMatchObject({
    kind: "gateway",
    agent,
    principal: "agent",
  });
});

test("a note says whose it is", async () => {
  await api.did("POST", "/v1/notes", "agent", {
    kind: "refused",
    reason: "bound",
    action: "\u202e",
    principal: "x",
  });
  await api.did("POST", "/v1/notes", "gateway", { kind: "login_refused", reason: "free", principal: "bob" });
  const records = await api.records();
  expect(records.find(({ reason }) => reason === "bound")).toMatchObject({
    kind: "refused",
    agent,
    principal: "agent",
    action: "\\u202e",
  });
  const free = records.find(({ reason }) => reason === "free");
  expect(free).toMatchObject({ kind: "login_refused", principal: "bob" });
  expect(free?.agent).toBeUndefined();
});

test("whoever can run tools may nothing that people may, and the other way round", async () => {
  const { id } = await api.enlist("gateway");
  const before = await api.service.newestRecord();
  for (const [method, path, body] of [
    ["POST", "/v1/kill", { agent }],
    ["POST", "/v1/revive", { agent }],
    ["GET", "/v1/agents", undefined],
    ["GET", "/v1/gateways", undefined],
    ["GET", "/v1/approvals", undefined],
    ["POST", "/v1/approvals/1/decision", { decision: "approved" }],
    ["GET", "/v1/ledger", undefined],
    ["GET", "/v1/ledger/verify", undefined],
    ["GET", "/v1/ledger/export", undefined],
    ["GET", "/v1/tokens", undefined],
    ["POST", "/v1/tokens", { name: "x", role: "admin" }],
    ["POST", "/v1/tokens/1/revoke", undefined],
    ["GET", "/v1/policies", undefined],
    ["GET", "/v1/policies/revisions", undefined],
    ["PUT", "/v1/policies", { documents: [] }],
    ["GET", "/v1/events", undefined],
    ["GET", "/v1/stats", undefined],
  ] as const) {
    for (const as of ["agent", "gateway"]) {
      expect([method, path, as, (await api.call(method, path, as, body)).status]).toEqual([
        method,
        path,
        as,
        403,
      ]);
    }
  }
  for (const [path, body] of [
    ["/v1/decisions", question(id)],
    ["/v1/decisions/release", { ...question(id), approval: null }],
    ["/v1/outcomes", { outcomes: [] }],
    ["/v1/notes", { kind: "gateway", reason: "x" }],
    ["/v1/gateways", { pid: 1, label: "x", address: null, host: "h" }],
    ["/v1/gateways/heard", { gateway: id, event: 0 }],
    ["/v1/gateways/leave", { gateway: id }],
    ["/v1/gateways/heartbeat", { gateway: id, mark: 0 }],
    ["/v1/authenticate", { token: api.tokens.agent }],
  ] as const) {
    for (const as of ["admin", "approver", "auditor"]) {
      expect([path, as, (await api.call("POST", path, as, body)).status]).toEqual([path, as, 403]);
    }
  }
  const written = (await api.records()).filter((record) => record.id > before);
  expect(
    written.map(({ kind }) => kind).filter((kind) => kind !== "refused" && kind !== "login_refused"),
  ).toEqual([]);
});

function outcomeOf(call: string, over: object = {}) {
  return {
    call,
    agent,
    server: "files",
    tool: "read",
    action: "files__read",
    outcome: "ok",
    duration: 1.5,
    ...over,
  };
}
