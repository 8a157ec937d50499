/** Who may say that the form in the client was accepted. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { readAddress } from "../../../../src/client/address.js";
import { HttpBackend } from "../../../../src/client/http.js";
import { Requests } from "../../../../src/client/requests.js";
import { createLogger } from "../../../../src/log.js";
import { type Api, question, startApi } from "../../../fixtures/backend/api.js";
import { agent, intent, person } from "../../../fixtures/backend/store.js";

const policy = `
agent: claude-*
default: block
review:
  - { action: files__form, approval: { channels: [client] } }
  - { action: files__usual }
`;
let api: Api;
let gateway: string;
beforeAll(async () => {
  api = await startApi();
  await api.service.publish([{ name: "claude.yaml", text: policy }], person());
  gateway = (await api.enlist("agent")).id;
});
afterAll(() => api.close());

async function hold(tool = "form", over: object = {}, as = "agent"): Promise<{ id: number; call: string }> {
  const at = { arguments: JSON.stringify({ n: Math.random() }), ...over };
  const asked = question(gateway, tool, at);
  const { approval } = await api.did("POST", "/v1/decisions", as, asked);
  return { id: approval.id, call: asked.call };
}

async function answer(id: number, call: string, as = "agent"): Promise<unknown[]> {
  const { status, json } = await api.call("POST", `/v1/approvals/${id}/answer`, as, { call });
  return [status, json?.code];
}

test("the gateway of the call, and only for the call that waits", async () => {
  const { id, call } = await hold();
  expect(await answer(id, call, "gateway")).toEqual([404, "unknown_gateway"]);
  for (const wrong of ["nobody", "-1", `x${call}`])
    expect(await answer(id, wrong)).toEqual([404, "unknown_gateway"]);
  expect(await answer(id, `${gateway}-none`)).toEqual([403, "not_permitted"]);
  expect(await answer(999_999, call)).toEqual([404, "unknown_approval"]);
  for (const role of ["approver", "admin", "auditor"]) expect((await answer(id, call, role))[0]).toBe(403);
  const usual = await hold("usual");
  expect(await answer(usual.id, usual.call)).toEqual([403, "not_permitted"]);
  for (const each of [id, usual.id]) expect((await api.service.approval(each)).status).toBe("pending");

  expect((await answer(id, call))[0]).toBe(200);
  expect(await api.service.approval(id)).toMatchObject({ status: "approved", decidedBy: `client:${agent}` });
  expect(await answer(id, call)).toEqual([409, "approval_settled"]);
});

test("another agent's approvals do not exist", async () => {
  await api.did("POST", "/v1/agents", "gateway", { name: "claude-other" });
  const theirs = (await api.enlist("gateway")).id;
  const over = { agent: "claude-other", gateway: theirs, call: `${theirs}-1` };
  const { id, call } = await hold("form", over, "gateway");
  expect(await answer(id, call)).toEqual([404, "unknown_approval"]);
  expect((await api.service.approval(id)).status).toBe("pending");
  expect((await answer(id, call, "gateway"))[0]).toBe(200);
});

test("a gateway says it through its client", async () => {
  const address = readAddress(api.url, "test", api.tokens.agent);
  const remote = await HttpBackend.open(new Requests(address), "9.9.9", createLogger("silent"));
  try {
    const id = await remote.attach({ pid: 7, label: "wrap files", address: null });
    const held = intent(id, "form");
    const { approval } = await remote.decide(held);
    await expect(remote.answerInClient(approval?.id ?? 0, `${id}-none`)).rejects.toMatchObject({
      code: "not_permitted",
    });
    await remote.answerInClient(approval?.id ?? 0, held.call);
    expect((await remote.release(held, approval?.id ?? 0)).decision).toBe("ALLOW");
  } finally {
    await remote.close();
  }
});
