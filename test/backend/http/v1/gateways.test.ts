import { afterEach, beforeEach, expect, test } from "vitest";
import { resyncEvent } from "../../../../src/client/wire/gateways.js";
import { type Api, policy, question, startApi } from "../../../fixtures/backend/api.js";
import { agent, person, rawStore, waitFor } from "../../../fixtures/backend/store.js";

let api: Api;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.close());

function eventsOf({ id, event }: { readonly id: string; readonly event: number }): string {
  return `/v1/gateways/events?gateway=${id}&after=${event}`;
}

test("a gateway comes, lives, is seen and goes", async () => {
  const answer = await api.did("POST", "/v1/gateways", "gateway", {
    pid: 4711,
    label: "gateway /etc/aegis.yaml",
    address: "http://10.0.0.7:8100",
    host: "desk-1",
  });
  expect(answer).toEqual({
    id: expect.any(String),
    event: expect.any(Number),
    lease_ms: 2_000,
    heartbeat_ms: 1_000,
  });
  const gateway: string = answer.id;
  expect(await api.did("POST", "/v1/gateways/heartbeat", "gateway", { gateway, mark: 0 })).toEqual({
    known: true,
  });
  expect((await api.did("GET", "/v1/gateways", "auditor")).gateways).toEqual([
    {
      id: gateway,
      pid: 4711,
      label: "gateway /etc/aegis.yaml",
      address: "http://10.0.0.7:8100",
      started_at: expect.any(String),
    },
  ]);
  await api.did("POST", "/v1/gateways/leave", "gateway", { gateway });
  expect((await api.did("GET", "/v1/gateways", "auditor")).gateways).toEqual([]);
  expect(await api.did("POST", "/v1/gateways/heartbeat", "gateway", { gateway, mark: 0 })).toEqual({
    known: false,
  });
});

test("a kill is heard at once, and acknowledged when the gateway has confirmed it", async () => {
  const gateway = await api.enlist("gateway");
  const listener = await api.listen(eventsOf(gateway), "gateway");
  const killing = api.did("POST", "/v1/kill", "admin", { agent, reason: "misbehaves" });
  const asked = performance.now();
  const event = await listener.until(({ data }) => data.includes('"kill"'));
  expect(performance.now() - asked).toBeLessThan(1_000);
  expect(JSON.parse(event.data)).toEqual({ kind: "kill", agent });
  await api.did("POST", "/v1/gateways/heard", "gateway", { gateway: gateway.id, event: Number(event.id) });
  expect(await killing).toEqual({
    agent,
    already: false,
    gateways: [{ id: gateway.id, pid: 7, confirmed: true }],
    voided: 0,
  });

  const asking = (): object => question(gateway.id);
  const refused = await api.did("POST", "/v1/decisions", "gateway", asking());
  expect(refused.decision).toBe("KILLED");
  expect(refused.reason).toContain("misbehaves");
  const registered = await api.did("POST", "/v1/agents", "gateway", { name: agent, owner: "somebody" });
  expect(registered).toMatchObject({ status: "KILLED", owner: "somebody", killed: { by: "admin" } });

  const reviving = api.did("POST", "/v1/revive", "admin", { agent });
  const revived = await listener.until(({ data }) => data.includes('"revive"'));
  await api.did("POST", "/v1/gateways/heard", "gateway", { gateway: gateway.id, event: Number(revived.id) });
  expect(await reviving).toEqual({});
  expect((await api.did("POST", "/v1/decisions", "gateway", asking())).decision).toBe("ALLOW");
  listener.leave();
});

test("nobody confirms, keeps alive, hears or dismisses another's gateway", async () => {
  const { id: gateway } = await api.enlist("gateway");
  const other = await api.token("other-gateway");
  for (const as of ["agent", other.token]) {
    expect(await api.did("POST", "/v1/gateways/heartbeat", as, { gateway, mark: 0 })).toEqual({
      known: false,
    });
    await api.did("POST", "/v1/gateways/leave", as, { gateway });
    expect((await api.listen(`/v1/gateways/events?gateway=${gateway}&after=0`, as)).status).toBe(404);
  }
  expect((await api.did("GET", "/v1/gateways", "admin")).gateways).toHaveLength(1);

  const killing = api.did("POST", "/v1/kill", "admin", { agent });
  await waitFor(async () => (await api.service.agent(agent))?.status === "KILLED", "the kill");
  const event = await api.service.newestEvent();
  for (const as of ["agent", other.token])
    await api.did("POST", "/v1/gateways/heard", as, { gateway, event });
  expect((await killing).gateways).toEqual([{ id: gateway, pid: 7, confirmed: false }]);
});

test("what has not happened yet can not be confirmed", async () => {
  const { id: gateway, event } = await api.enlist("gateway");
  const ahead = await api.call("POST", "/v1/gateways/heard", "gateway", { gateway, event: event + 1 });
  expect([ahead.status, ahead.json.detail[0].loc]).toEqual([422, ["body", "event"]]);
  expect((await api.call("POST", "/v1/gateways/heard", "gateway", { gateway, event })).status).toBe(200);
});

test("a gateway that was away hears what it missed, in order and once", async () => {
  const gateway = await api.enlist("gateway");
  const ids: number[] = [];
  for (let round = 0; round < 3; round++) {
    const held = await api.did(
      "POST",
      "/v1/decisions",
      "gateway",
      question(gateway.id, "write", { arguments: `{"n":${round}}` }),
    );
    ids.push(held.approval.id);
  }
  const first = await api.listen(eventsOf(gateway), "gateway");
  await first.until(({ data }) => data.includes(`"id":${ids[2]},`));
  expect(first.events.map(({ data }) => JSON.parse(data))).toEqual(
    ids.map((id) => ({ kind: "approval", id, status: "pending" })),
  );
  first.leave();
  await api.did("POST", `/v1/approvals/${ids[0]}/decision`, "approver", { decision: "denied" });
  // The header goes before the query, which a client repeats.
  const second = await api.listen(eventsOf(gateway), "gateway", first.events.at(-1)?.id ?? "");
  await second.until(({ data }) => data.includes('"denied"'));
  await api.did("POST", `/v1/approvals/${ids[1]}/decision`, "approver", { decision: "approved" });
  await second.until(({ data }) => data.includes('"approved"'));
  expect(second.events.map(({ data }) => JSON.parse(data).status)).toEqual(["denied", "approved"]);
  second.leave();
});

test("a gateway that missed what is forgotten is told to ask for everything", async () => {
  const gateway = await api.enlist("gateway");
  await api.did("POST", "/v1/decisions", "gateway", question(gateway.id, "write"));
  await api.did("POST", "/v1/decisions", "gateway", question(gateway.id, "write", { arguments: '{"n":2}' }));
  const store = await rawStore(api.home);
  store.exec("DELETE FROM events WHERE id = (SELECT min(id) FROM events)");
  store.close();
  const newest = await api.service.newestEvent();
  // Forgotten; from a store that was replaced since; never said.
  for (const after of ["&after=0", `&after=${newest + 1}`, ""]) {
    const listener = await api.listen(`/v1/gateways/events?gateway=${gateway.id}${after}`, "gateway");
    const { id } = await listener.until(({ event }) => event === resyncEvent);
    expect(Number(id)).toBe(newest);
    expect(listener.events).toHaveLength(1);
    listener.leave();
  }
  const listener = await api.listen(`/v1/gateways/events?gateway=${gateway.id}`, "gateway", newest - 1);
  expect((await listener.until(() => true)).id).toBe(String(newest));
  expect(listener.events[0]?.event).toBeUndefined();
  listener.leave();
});

test("a gateway of one agent hears of that agent and its own token; of others, numbers", async () => {
  await api.service.ensureAgent("claude-other");
  const other = await api.token("other", "claude-other");
  const theirs = await api.enlist(other.token);
  const own = await api.enlist("agent");
  const listener = await api.listen(eventsOf(own), "agent");
  const everything = await api.listen(eventsOf(await api.enlist("gateway")), "gateway");

  const asked = question(theirs.id, "write", { agent: "claude-other" });
  const held = await api.did("POST", "/v1/decisions", other.token, asked);
  await api.did("POST", `/v1/approvals/${held.approval.id}/decision`, "approver", { decision: "denied" });
  const { id: stranger } = await api.token("stranger");
  await api.did("POST", `/v1/tokens/${stranger}/revoke`, "admin");
  await api.did("POST", "/v1/gateways/leave", other.token, { gateway: theirs.id });
  const killing = api.did("POST", "/v1/kill", "admin", { agent: "claude-other" });
  await waitFor(async () => (await api.service.agent("claude-other"))?.status === "KILLED", "the kill");
  const newest = await api.service.newestEvent();
  const event = await listener.until(({ id }) => id === String(newest));
  expect(event).toMatchObject({ event: "skip", data: "{}" });
  // The kill waits for it all the same.
  await everything.until(({ id }) => id === String(newest));
  for (const gateway of (await api.service.gateways()).map(({ id }) => id))
    await api.did("POST", "/v1/gateways/heard", gateway === own.id ? "agent" : "gateway", {
      gateway,
      event: newest,
    });
  expect((await killing).gateways.map(({ confirmed }: { confirmed: boolean }) => confirmed)).toEqual([
    true,
    true,
  ]);

  const mine = await api.did("POST", "/v1/decisions", "agent", question(own.id, "write"));
  await listener.until(({ data }) => data.includes(`"id":${mine.approval.id},`));
  await api.service.publish([{ name: "claude.yaml", text: `${policy}# again\n` }], person());
  await listener.until(({ data }) => data.includes('"policy"'));
  const reviving = api.did("POST", "/v1/revive", "admin", { agent: "claude-other" });
  const killingOwn = api.did("POST", "/v1/kill", "admin", { agent });
  const killed = await listener.until(({ data }) => data.includes('"kill"'));
  await Promise.all([
    api.did("POST", "/v1/gateways/heard", "agent", { gateway: own.id, event: Number(killed.id) }),
    reviving,
    killingOwn,
  ]);
  const told = listener.events.filter((each) => each.event === undefined).map(({ data }) => JSON.parse(data));
  const kinds = told.map(({ kind }: { kind: string }) => kind);
  expect(new Set(kinds)).toEqual(new Set(["approval", "policy", "kill"]));
  expect(told.filter(({ kind }) => kind === "approval").map(({ id }) => id)).toContain(mine.approval.id);
  expect(JSON.stringify(listener.events)).not.toContain("claude-other");
  expect(JSON.stringify(told)).not.toContain(`"id":${held.approval.id},`);
  const heard = everything.events.map(({ data }) => JSON.parse(data).kind);
  expect(heard).toEqual(expect.arrayContaining(["approval", "token", "kill", "policy"]));
  listener.leave();
  everything.leave();
});

test("a stream says that it lives, and ends with its token", async () => {
  const { id, token } = await api.token("short-lived");
  const gateway = await api.enlist(token);
  const listener = await api.listen(eventsOf(gateway), token);
  await waitFor(() => listener.comments >= 2, "a comment", 5_000);
  await api.did("POST", `/v1/tokens/${id}/revoke`, "admin");
  await waitFor(() => listener.over, "the end", 1_000);
  expect(JSON.parse(listener.events.at(-1)?.data ?? "")).toMatchObject({ reason: "credential" });
  expect(listener.events.at(-1)?.event).toBe("end");
});

test("the end of the backend ends the streams, and says so", async () => {
  const gateway = await api.enlist("gateway");
  const listener = await api.listen(eventsOf(gateway), "gateway");
  await listener.until(() => true, 1).catch(() => {});
  const closing = api.app.close();
  await waitFor(() => listener.over, "the end", 1_000);
  expect(JSON.parse(listener.events.at(-1)?.data ?? "")).toMatchObject({ reason: "stopping" });
  await closing;
});
