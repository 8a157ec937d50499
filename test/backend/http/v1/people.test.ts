import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { version } from "../../../../src/version.js";
import { type Api, policy, question, startApi } from "../../../fixtures/backend/api.js";
import { agent } from "../../../fixtures/backend/store.js";

let api: Api;
let gateway: string;
beforeAll(async () => {
  api = await startApi();
  gateway = (await api.enlist("gateway")).id;
});
afterAll(() => api.close());

async function hold(
  over: object = {},
): Promise<{ readonly id: number; readonly call: string; readonly digest: string }> {
  const asked = question(gateway, "write", { arguments: JSON.stringify({ n: Math.random() }), ...over });
  const { approval } = await api.did("POST", "/v1/decisions", "gateway", asked);
  const { digest } = await api.did("GET", `/v1/approvals/${approval.id}`, "approver");
  return { id: approval.id, call: asked.call, digest };
}

test("who asks, and what answers", async () => {
  const product = await api.call("GET", "/v1", null);
  expect([product.status, product.json]).toEqual([200, { product: "aegis", version, api: 1 }]);
  expect(await api.did("GET", "/v1/whoami", "agent")).toEqual({
    name: "agent",
    role: "agent",
    agent,
    groups: [],
    token: expect.any(Number),
    trust_declared: false,
  });
  expect((await api.call("GET", "/v1/whoami", null)).status).toBe(401);
});

test("a gateway that serves many finds out who its clients are", async () => {
  const who = await api.did("POST", "/v1/authenticate", "gateway", { token: api.tokens.agent });
  expect(who.principal).toMatchObject({ name: "agent", role: "agent", agent });
  expect(await api.did("POST", "/v1/authenticate", "gateway", { token: "aegis_wrong" })).toEqual({
    principal: null,
  });
  expect((await api.call("POST", "/v1/authenticate", "agent", { token: api.tokens.agent })).status).toBe(403);
});

test("approvals are listed by pages, the newest page first", async () => {
  const made: number[] = [];
  for (let n = 0; n < 5; n++) made.push((await hold()).id);
  const ids = async (query: string): Promise<{ ids: number[]; more: boolean }> => {
    const { approvals, more } = await api.did("GET", `/v1/approvals?${query}`, "auditor");
    return { ids: approvals.map(({ id }: { id: number }) => id), more };
  };
  const newest = await ids("status=pending&limit=2");
  expect(newest).toEqual({ ids: made.slice(-2), more: true });
  expect(await ids(`status=pending&limit=2&before=${newest.ids[0]}`)).toEqual({
    ids: made.slice(1, 3),
    more: true,
  });
  expect((await ids(`before=${(made[0] ?? 0) + 1}`)).more).toBe(false);
  expect((await ids("status=consumed")).ids).toEqual([]);
});

test("an approval is decided once, by what was seen, and whoever comes second is told", async () => {
  const { id, digest } = await hold();
  const path = `/v1/approvals/${id}/decision`;
  const stale = await api.call("POST", path, "approver", { decision: "approved", digest: "0".repeat(64) });
  expect([stale.status, stale.json.code]).toEqual([409, "approval_differs"]);
  expect((await api.service.approval(id)).status).toBe("pending");

  const decided = await api.did("POST", path, "approver", { decision: "approved", reason: "fine", digest });
  expect(decided).toMatchObject({ id, status: "approved", decided_by: "approver", decided_reason: "fine" });
  const second = await api.call("POST", path, "admin", { decision: "denied" });
  expect([second.status, second.json.code]).toEqual([409, "approval_settled"]);
  expect(second.json.detail).toContain("approver");
  expect((await api.service.approval(id)).status).toBe("approved");
});

test("to an agent's token the approvals of others do not exist", async () => {
  await api.did("POST", "/v1/agents", "gateway", { name: "claude-other" });
  const foreign = await hold({ agent: "claude-other" });
  const own = await hold();
  expect((await api.did("GET", `/v1/approvals/${own.id}`, "agent")).id).toBe(own.id);
  const absent = await api.call("GET", "/v1/approvals/999999", "agent");
  const hidden = await api.call("GET", `/v1/approvals/${foreign.id}`, "agent");
  expect(hidden.status).toBe(404);
  expect(hidden.json).toEqual(JSON.parse(absent.text.replaceAll("999999", String(foreign.id))));
  const detach = (id: number, call: string) =>
    api.call("POST", `/v1/approvals/${id}/detach`, "agent", { call }).then(({ status }) => status);
  expect(await detach(foreign.id, foreign.call)).toBe(404);
  expect(await detach(999_999, foreign.call)).toBe(404);
  expect((await api.service.approval(foreign.id)).waiting).toBe(true);
  expect(await detach(own.id, "another-1")).toBe(200);
  expect((await api.service.approval(own.id)).waiting).toBe(true);
  expect(await detach(own.id, own.call)).toBe(200);
  expect(await api.service.approval(own.id)).toMatchObject({ waiting: false, status: "pending" });
});

test("records are read by pages and kinds", async () => {
  const { id } = await hold();
  await api.did("POST", `/v1/approvals/${id}/decision`, "approver", { decision: "denied" });
  const ids = async (query: string): Promise<number[]> =>
    (await api.did("GET", `/v1/ledger?${query}`, "auditor")).records.map(
      (record: { id: number }) => record.id,
    );
  const all = (await api.records()).map((record) => record.id);
  expect(await ids("limit=3")).toEqual(all.slice(-3));
  expect(await ids("limit=3&after=2")).toEqual([3, 4, 5]);
  expect(await ids("limit=2&before=6")).toEqual([4, 5]);
  const { records } = await api.did("GET", "/v1/ledger?kind=approval,token&limit=1000", "auditor");
  expect(new Set(records.map(({ kind }: { kind: string }) => kind))).toEqual(new Set(["approval", "token"]));
  const ofOther = await api.did("GET", "/v1/ledger?agent=a%2Fb%3Fc%23d", "auditor");
  expect(ofOther.records).toEqual([]);
  // Each is what was hashed: the next one holds its hash.
  const [one, two] = (await api.did("GET", "/v1/ledger?after=0&limit=2", "auditor")).records;
  expect(two.prev).toBe(createHash("sha256").update(JSON.stringify(one)).digest("hex"));
});

test("the ledger verifies, and says by which key", async () => {
  const [one, two] = await Promise.all([
    api.did("GET", "/v1/ledger/verify", "auditor"),
    api.did("GET", "/v1/ledger/verify", "admin"),
  ]);
  expect(one).toMatchObject({ ok: true, broken: null, records: expect.any(Number) });
  expect(two).toEqual(one);
  await api.service.note({ kind: "gateway", reason: "one more" });
  const later = await api.did("GET", "/v1/ledger/verify", "auditor");
  expect(later.records).toBeGreaterThan(one.records);
  const { public_key } = await api.did("GET", "/v1/ledger/key", "agent");
  expect(public_key).toContain("BEGIN PUBLIC KEY");
});

test("the ledger is exported whole, as the texts that were hashed", async () => {
  const notes = Array.from({ length: 600 }, (_, n) =>
    api.service.note({ kind: "gateway", reason: `é ${n}` }),
  );
  await Promise.all(notes);
  const jsonl = await api.call("GET", "/v1/ledger/export", "auditor");
  expect(jsonl.headers["content-disposition"]).toContain("aegis-ledger.jsonl");
  const lines = jsonl.text.trimEnd().split("\n");
  const head = JSON.parse(lines.at(0) ?? "").export;
  const end = JSON.parse(lines.at(-1) ?? "").end;
  const bodies = lines.slice(1, -1);
  const hashes = bodies.map((body) => createHash("sha256").update(body).digest("hex"));
  expect(bodies.slice(1).map((body) => JSON.parse(body).prev)).toEqual(hashes.slice(0, -1));
  expect(head).toMatchObject({ from: 1, to: bodies.length, prev: "", head: hashes.at(-1), agent: null });
  expect(end).toEqual({ records: bodies.length, head: hashes.at(-1) });
  // That it was taken out stands in it, and is signed.
  const [said, signature] = bodies.slice(-2).map((body) => JSON.parse(body) as Record<string, unknown>);
  expect(said).toMatchObject({
    kind: "export",
    reason: expect.stringContaining("jsonl: the first to the newest"),
  });
  expect(signature).toMatchObject({ kind: "checkpoint", id: head.checkpoint, key_id: head.key_id });

  const part = await api.call("GET", "/v1/ledger/export?format=csv&from=2&to=3", "auditor");
  expect(part.headers["content-type"]).toContain("text/csv");
  const [, stretch = "", second, ...more] = part.text.trimEnd().split("\n");
  expect(second).toMatch(/^2,/);
  // On to the signature over the third.
  const { to } = JSON.parse(stretch.slice(stretch.indexOf('"{') + 1, -1).replaceAll('""', '"')).export;
  expect(more.at(-2)).toMatch(new RegExp(`^${to},[^,]*,"checkpoint",`));
  expect((await api.call("GET", "/v1/ledger/export?from=100000", "auditor")).status).toBe(400);
});

test("a token is made, shown once, works, and is revoked", async () => {
  const made = await api.did("POST", "/v1/tokens", "admin", {
    name: "desk",
    role: "agent",
    agent: "claude-desk",
    groups: ["g"],
    trust_declared: true,
    expires_ms: 60_000,
  });
  expect(await api.did("GET", "/v1/whoami", made.token)).toMatchObject({ name: "desk", groups: ["g"] });
  const { tokens } = await api.did("GET", "/v1/tokens", "admin");
  const listed = tokens.find(({ id }: { id: number }) => id === made.id);
  expect(listed).toMatchObject({ agent: "claude-desk", trust_declared: true, revoked_at: null });
  expect(Date.parse(listed.expires_at) - Date.parse(listed.created_at)).toBe(60_000);
  expect(JSON.stringify(tokens)).not.toContain(made.token);
  await api.did("POST", `/v1/tokens/${made.id}/revoke`, "admin");
  expect((await api.call("GET", "/v1/whoami", made.token)).status).toBe(401);
  const absent = await api.call("POST", "/v1/tokens/999999/revoke", "admin");
  expect([absent.status, absent.json.code]).toEqual([404, "unknown_token"]);
  const person = await api.call("POST", "/v1/tokens", "admin", { name: "os:root", role: "admin" });
  expect([person.status, person.json.code]).toEqual([400, "usage"]);
});

test("policies are published whole, in force at once, and refused where they are wrong", async () => {
  const before = (await api.did("GET", "/v1/policies", "approver")).policy;
  expect(before.documents).toEqual([{ name: "claude.yaml", text: policy }]);
  const wrong = await api.call("PUT", "/v1/policies", "admin", {
    documents: [{ name: "a.yaml", text: "agent: [" }],
  });
  expect([wrong.status, wrong.json.code]).toEqual([422, "policy_invalid"]);
  expect((await api.did("GET", "/v1/policies", "approver")).policy).toEqual(before);

  const documents = [
    { name: "claude.yaml", text: policy.replace("allow: [files__read]", "block: [files__read]") },
  ];
  const published = await api.did("PUT", "/v1/policies", "admin", { documents });
  expect(published).toMatchObject({ documents, published_by: "admin" });
  expect((await api.did("PUT", "/v1/policies", "admin", { documents })).revision).toBe(published.revision);
  const { revisions } = await api.did("GET", "/v1/policies/revisions", "auditor");
  expect(revisions.map(({ revision }: { revision: string }) => revision)).toEqual([
    published.revision,
    before.revision,
  ]);
  const refused = await api.did("POST", "/v1/decisions", "gateway", question(gateway));
  expect(refused).toMatchObject({ decision: "BLOCK", revision: published.revision });
  await api.did("PUT", "/v1/policies", "admin", { documents: before.documents });
  expect((await api.did("POST", "/v1/decisions", "gateway", question(gateway))).decision).toBe("ALLOW");
});

test("agents and numbers", async () => {
  const { agents } = await api.did("GET", "/v1/agents", "auditor");
  expect(agents.find(({ name }: { name: string }) => name === agent)).toMatchObject({
    status: "ACTIVE",
    killed: null,
    allowed: expect.any(Number),
  });
  const stats = await api.did("GET", "/v1/stats", "auditor");
  expect(stats).toMatchObject({ agents: agents.length, blocks: expect.any(Number) });
  const pending = (await api.did("GET", "/v1/approvals?status=pending", "admin")).approvals.length;
  expect(stats.pending_approvals).toBe(pending);
  const absent = await api.call("POST", "/v1/kill", "admin", { agent: "claude-desktpo" });
  expect([absent.status, absent.json.code]).toEqual([404, "unknown_agent"]);
});
