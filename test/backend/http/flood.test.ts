import { afterEach, beforeEach, expect, test } from "vitest";
import { approvalsOf } from "../../../src/client/http-pages.js";
import { type Api, question, startApi } from "../../fixtures/backend/api.js";
import { agent, person, rawStore } from "../../fixtures/backend/store.js";

let api: Api;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.close());

const MiB = 1024 * 1024;

async function ask(args = "{}"): Promise<number> {
  const answer = await api.did("POST", "/sdk/approval", "gateway", {
    agent_name: agent,
    action: "files__write",
    args_json: args,
  });
  return answer.approval_id;
}

async function poll(id: number): Promise<string> {
  return (await api.did("GET", `/sdk/approval-status/${id}`, "gateway")).status;
}

const compatLists = [
  ["/sdk/pending-approvals", (json: { approvals: Listed[] }) => json.approvals],
  ["/approvals/pending", (json: Listed[]) => json],
] as const;

interface Listed {
  readonly id: number;
}

async function listed(): Promise<number[][]> {
  const pages: number[][] = [];
  for (const [path, of] of compatLists) {
    const json = await api.did("GET", path, "admin");
    pages.push(of(json as never).map(({ id }) => id));
  }
  return pages;
}

async function raw(sql: string): Promise<void> {
  const store = await rawStore(api.home);
  store.exec(sql);
  store.close();
}

test("the lists without pages hold the newest 200, and /v1 has all", async () => {
  const ids: number[] = [];
  for (let n = 0; n < 205; n++) ids.push(await ask());
  const newest = ids.slice(5).toReversed();
  expect(await listed()).toEqual([newest, newest]);
  const page = await api.did("GET", "/v1/approvals?status=pending&limit=200", "approver");
  expect([page.approvals.length, page.more]).toEqual([200, true]);
  const rest = await api.did("GET", `/v1/approvals?limit=200&before=${page.approvals[0].id}`, "approver");
  expect([rest.approvals.map((one: Listed) => one.id), rest.more]).toEqual([ids.slice(0, 5), false]);
});

test("a list stops at 8 MiB of arguments, and /v1 says that there is more", async () => {
  const long = JSON.stringify("x".repeat(MiB - 1_000));
  const ids: number[] = [];
  for (let n = 0; n < 10; n++) ids.push(await ask(long));
  const newest = ids.slice(-7);
  expect(await listed()).toEqual([newest.toReversed(), newest.toReversed()]);
  const page = await api.did("GET", "/v1/approvals", "approver");
  expect([page.approvals.map((one: Listed) => one.id), page.more]).toEqual([newest, true]);
  expect(page.approvals[0].arguments).toBe(long);
  const rest = await api.did("GET", `/v1/approvals?before=${newest[0]}`, "approver");
  expect([rest.approvals.map((one: Listed) => one.id), rest.more]).toEqual([ids.slice(0, 3), false]);
});

test("one that is longer than a whole list is listed, alone", async () => {
  const gateway = await api.enlist("gateway");
  const long = JSON.stringify({ text: "x".repeat(9 * MiB) });
  for (const text of [long, "{}"])
    await api.service.decide({
      ...question(gateway.id, "write", { arguments: text }),
      principal: "gateway",
      parsed: JSON.parse(text),
    });
  const page = await api.did("GET", "/v1/approvals", "approver");
  expect([page.approvals.length, page.more]).toEqual([1, true]);
  const rest = await api.did("GET", `/v1/approvals?before=${page.approvals[0].id}`, "approver");
  expect([rest.approvals.length, rest.approvals[0].arguments === long, rest.more]).toEqual([1, true, false]);
});

test("a client of /v1 gets every page, however short the pages are", async () => {
  const long = JSON.stringify("x".repeat(MiB - 1_000));
  const ids: number[] = [];
  for (let n = 0; n < 10; n++) ids.push(await ask(long));
  const client = { get: (path: string) => api.did("GET", path, "approver") };
  const all = await approvalsOf(client as never, { status: "pending" });
  expect(all.map(({ id }) => id)).toEqual(ids);
});

test("an SDK that floods approvals hears DENIED, why is recorded, and it is asked for again once there is room", async () => {
  const first = await ask();
  const full = "UPDATE open_approvals SET count = count + 999";
  await raw(full);
  const id = await ask('{"n":"kept in the ledger"}');
  expect(await poll(id)).toBe("DENIED");
  expect(await poll(first)).toBe("PENDING");
  expect(
    (await api.records()).find(({ kind, approval }) => kind === "decision" && approval === id),
  ).toMatchObject({
    decision: "BLOCK",
    reason: expect.stringContaining("1000 approvals open"),
    arguments: expect.stringContaining("kept in the ledger"),
  });
  expect(await api.service.approval(id)).toMatchObject({ status: "void", arguments: "" });
  expect((await listed())[0]).toEqual([first]);

  await api.service.decideApproval(first, "denied", person(), "");
  const next = await ask();
  expect(await poll(next)).toBe("PENDING");
  expect(await poll(await ask())).toBe("DENIED");
});

test("one gateway too many is a 429 that says what to do, and does not harm the others", async () => {
  const { id } = await api.enlist("gateway");
  for (let n = 1; n < 100; n++) await api.enlist("gateway");
  const body = { pid: 7, label: "wrap files", address: null, host: "desk-1" };
  const answer = await api.call("POST", "/v1/gateways", "gateway", body);
  expect(answer.status).toBe(429);
  expect(answer.json).toMatchObject({ code: "too_many_gateways", hint: expect.stringContaining("End some") });
  expect((await api.did("POST", "/v1/decisions", "gateway", question(id))).decision).toBe("ALLOW");
  await api.did("POST", "/v1/gateways/leave", "gateway", { gateway: id });
  await api.enlist("gateway");
});
