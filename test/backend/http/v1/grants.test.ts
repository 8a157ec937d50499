import { afterAll, beforeAll, expect, test } from "vitest";
import { readAddress } from "../../../../src/client/address.js";
import type { Backend } from "../../../../src/client/backend.js";
import { HttpBackend } from "../../../../src/client/http.js";
import { Requests } from "../../../../src/client/requests.js";
import { createLogger } from "../../../../src/log.js";
import { type Api, question, startApi } from "../../../fixtures/backend/api.js";
import { agent, person } from "../../../fixtures/backend/store.js";

const policy = `
agent: claude-*
default: block
on_change: allow
allow: [files__read]
review:
  - action: files__write
    approval: { grant: { uses: 3, expires: 1h, arguments: { path: "/srv/*" } } }
  - { action: files__pair, approval: { approvers: [docs-team], quorum: 2, grant: { uses: 2, expires: 1h } } }
  - { action: files__why, approval: { reason: required } }
  - { action: files__page, approval: { channels: [page] } }
data:
  - { detect: custom, name: salary, pattern: salary, then: review, in: results }
`;

let api: Api;
let gateway: string;
let remote: Backend;
beforeAll(async () => {
  api = await startApi();
  await api.service.publish([{ name: "claude.yaml", text: policy }], person());
  gateway = (await api.enlist("gateway")).id;
  const address = readAddress(api.url, "test", api.tokens.approver);
  remote = await HttpBackend.open(new Requests(address), "9.9.9", createLogger("silent"));
});
afterAll(async () => {
  await remote.close();
  await api.close();
});

async function hold(tool: string): Promise<number> {
  const { approval } = await api.did("POST", "/v1/decisions", "gateway", question(gateway, tool));
  return approval.id;
}

function decide(id: number, body: object, as = "approver") {
  return api.call("POST", `/v1/approvals/${id}/decision`, as, { decision: "approved", ...body });
}

test("a grant is given with an approval, listed and revoked", async () => {
  const id = await hold("write");
  const over = await decide(id, { grant: { uses: 4 } });
  expect([over.status, over.json.code]).toEqual([400, "usage"]);
  expect(over.json.hint).toContain("at most 3 calls");
  expect((await decide(id, { grant: { uses: 2, expires_ms: 60_000 } })).status).toBe(200);
  const { grants } = await api.did("GET", "/v1/grants", "auditor");
  expect(grants).toEqual([
    {
      id: 1,
      approval: id,
      agent,
      principal: "gateway",
      server: "files",
      tool: "write",
      action: "files__write",
      arguments: { path: "/srv/*" },
      uses: 2,
      left: 2,
      created_at: expect.stringMatching(/^20/),
      created_by: "approver",
      expires_at: expect.stringMatching(/^20/),
      status: "active",
    },
  ]);
  expect((await api.call("POST", "/v1/grants/1/revoke", "auditor", {})).status).toBe(403);
  expect((await api.call("POST", "/v1/grants/1/revoke", "gateway", {})).status).toBe(403);
  const absent = await api.call("POST", "/v1/grants/9/revoke", "approver", {});
  expect([absent.status, absent.json.code]).toEqual([404, "unknown_grant"]);
  await api.did("POST", "/v1/grants/1/revoke", "approver", { reason: "done" });
  expect((await api.did("GET", "/v1/grants", "auditor")).grants).toEqual([]);
  expect((await api.did("GET", "/v1/grants?all=true", "auditor")).grants).toMatchObject([
    { status: "revoked" },
  ]);
});

test("a client of the API gives, lists and revokes them, and sees what an approver sees", async () => {
  const id = await hold("write");
  const unseen = await remote.approvalContext(id);
  expect(unseen).toEqual(await api.service.approvalContext(id));
  expect(unseen.alike).toContain(id);
  const by = person();
  await expect(remote.decideApproval(id, "approved", by, "", { grant: { uses: 9 } })).rejects.toMatchObject({
    code: "usage",
  });
  await remote.decideApproval(id, "approved", by, "", { grant: { uses: 1, expires: 60_000 } });
  const grants = await remote.grants(false);
  expect(grants).toEqual(await api.service.grants(false));
  expect(grants).toMatchObject([{ approval: id, left: 1 }]);
  const call = question(gateway, "write", { arguments: '{"path":"/srv/b"}' });
  expect(await api.did("POST", "/v1/decisions", "gateway", call)).toMatchObject({ decision: "ALLOW" });
  await remote.decideApproval(await hold("write"), "approved", by, "", { grant: {} });
  const [newest] = await remote.grants(false);
  expect(newest).toMatchObject({ uses: 3 });
  await remote.revokeGrant(newest?.id ?? 0, by, "done");
  expect(await remote.grants(false)).toEqual([]);
  expect(await remote.grants(true)).toHaveLength((await api.service.grants(true)).length);
  await expect(remote.revokeGrant(99, by, "")).rejects.toMatchObject({ code: "unknown_grant" });
});

test("what a client of the API reads of an approval of a quorum is what the backend says", async () => {
  const id = await hold("pair");
  const refused = await decide(id, {}, "admin");
  expect([refused.status, refused.json.code]).toEqual([403, "not_permitted"]);
  const groups = ["docs-team"];
  for (const name of ["dan", "eva"]) {
    const { token } = await api.service.createToken({ name, role: "approver", groups }, person());
    const { status, json } = await decide(id, name === "dan" ? { grant: { uses: 1 } } : {}, token);
    expect([status, json.status]).toEqual([200, name === "dan" ? "pending" : "approved"]);
    if (name !== "dan") continue;
    const again = await decide(id, {}, token);
    expect([again.status, again.json.code]).toEqual([409, "already_approved"]);
  }
  const shown = await remote.approval(id);
  expect(shown).toEqual(await api.service.approval(id));
  expect(shown.votes.map(({ by, grant }) => [by, grant])).toEqual([
    ["dan", { uses: 1, expires: 3_600_000 }],
    ["eva", undefined],
  ]);
});

test("a client of the API reads what results are held against, and which approvals are about one", async () => {
  const call = question(gateway, "write", { arguments: '{"result":"salary"}' });
  const answer = { ...call, call: `${call.call}.result`, stage: "result" };
  const { approval } = await api.did("POST", "/v1/decisions", "gateway", answer);
  const shown = await remote.approval(approval.id);
  expect(shown).toEqual(await api.service.approval(approval.id));
  expect(shown.stage).toBe("result");
  expect(await remote.approval(await hold("write"))).not.toHaveProperty("stage");
  const allowed = await api.did("POST", "/v1/decisions", "gateway", question(gateway, "read"));
  expect(allowed.inspect).toEqual([
    {
      rule: "claude.yaml:13 data salary",
      detect: "custom",
      name: "salary",
      pattern: "salary",
      effect: "review",
      reason: null,
    },
  ]);
});

test("a token decides by the API, whatever it says, and the routes of the dashboard keep to the requirement too", async () => {
  const [page, why] = [await hold("page"), await hold("why")];
  expect((await decide(page, { channel: "page" })).status).toBe(422);
  expect((await decide(page, {})).json.code).toBe("not_permitted");
  for (const path of [`/sdk/decide-approval/${page}`, `/approvals/${page}/decide`])
    expect((await api.call("POST", path, "approver", { decision: "APPROVED" })).status, path).toBe(403);
  for (const path of [`/sdk/decide-approval/${why}`, `/approvals/${why}/decide`])
    expect((await api.call("POST", path, "approver", { decision: "APPROVED" })).status, path).toBe(400);
  for (const id of [page, why]) expect((await api.service.approval(id)).status).toBe("pending");
  expect(
    (await api.call("POST", `/approvals/${why}/decide`, "approver", { decision: "DENIED" })).status,
  ).toBe(200);
});

test("what an approver sees beside an approval is shown to people, and of none that is not there", async () => {
  const id = await hold("write");
  expect((await api.call("GET", `/v1/approvals/${id}/context`, "gateway")).status).toBe(403);
  expect((await api.call("GET", "/v1/approvals/999/context", "auditor")).json.code).toBe("unknown_approval");
});
