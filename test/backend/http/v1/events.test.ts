import { afterEach, beforeEach, expect, test } from "vitest";
import { type Api, type Listener, question, startApi } from "../../../fixtures/backend/api.js";
import { agent, person, rawStore, waitFor } from "../../../fixtures/backend/store.js";

let api: Api;
beforeEach(async () => {
  api = await startApi();
});
afterEach(() => api.close());

function idsOf(listener: Listener): number[] {
  return listener.events.filter(({ event }) => event !== "end").map(({ id }) => Number(id));
}

async function note(reason: string, as = "gateway"): Promise<number> {
  await api.did("POST", "/v1/notes", as, { kind: "gateway", reason });
  return api.service.newestRecord();
}

test("without an id a stream begins at the newest record, and goes on with what comes", async () => {
  const listener = await api.listen("/v1/events", "auditor");
  const { id } = await api.enlist("gateway");
  const asked = question(id);
  const verdict = await api.did("POST", "/v1/decisions", "gateway", asked);
  const event = await listener.until(({ data }) => data.includes(asked.call));
  expect(event.id).toBe(String(verdict.record));
  const [record] = await api.service.records({ after: verdict.record - 1, limit: 1 });
  expect(JSON.parse(event.data)).toEqual(record);
  expect(Math.min(...idsOf(listener))).toBeGreaterThan(1);
  listener.leave();
});

test("a reader that comes back by its id misses nothing and sees nothing twice, however far it was behind", async () => {
  const start = await api.service.newestRecord();
  const first = await api.listen("/v1/events", "admin");
  for (let n = 0; n < 5; n++) await note(`first ${n}`);
  await first.until(({ data }) => data.includes("first 4"));
  first.leave();
  const seen = idsOf(first);

  // More than is kept, and more than a page: while nobody reads, and while somebody does.
  const many = async (what: string, count: number): Promise<void> => {
    const notes = Array.from({ length: count }, (_, n) =>
      api.service.note({
        kind: "gateway",
        agent: n % 7 === 0 ? agent : "claude-other",
        reason: `${what} ${n}`,
      }),
    );
    await Promise.all(notes);
  };
  await many("away", 1_300);
  const back = await api.listen("/v1/events?after=1", "admin", seen.at(-1));
  const filtered = await api.listen(`/v1/events?after=${start}&agent=${agent}`, "auditor");
  await many("live", 1_300);
  const last = await note("the last", "agent");
  await back.until(({ id }) => id === String(last), 8_000);
  const expected = Array.from({ length: last - start }, (_, n) => start + 1 + n);
  expect([...seen, ...idsOf(back)]).toEqual(expected);
  await filtered.until(({ id }) => id === String(last), 8_000);
  const theirs = (await api.records()).filter((record) => record.id > start && record.agent === agent);
  expect(idsOf(filtered)).toEqual(theirs.map(({ id }) => id));
  expect(theirs.length).toBeGreaterThan(350);
  // Behind what is kept for all, though it was read while others followed.
  const late = await api.listen("/v1/events", "admin", last - 1_250);
  await late.until(({ id }) => id === String(last), 8_000);
  expect(idsOf(late)).toEqual(expected.slice(-1_250));
  for (const listener of [back, filtered, late]) listener.leave();
});

test("readers of some kinds hear of those, old and new", async () => {
  const start = await api.service.newestRecord();
  await note("not heard of");
  await api.did("POST", "/v1/kill", "admin", { agent });
  const listener = await api.listen(`/v1/events?kind=kill,revive&after=${start}`, "approver");
  await listener.until(({ data }) => data.includes('"kill"'));
  await note("nor of this");
  await api.did("POST", "/v1/revive", "admin", { agent });
  await listener.until(({ data }) => data.includes('"revive"'));
  expect(listener.events.map(({ data }) => JSON.parse(data).kind)).toEqual(["kill", "revive"]);
  listener.leave();
});

test("an id the ledger has not reached is refused, not waited for", async () => {
  const answer = await api.call("GET", "/v1/events?after=1000000", "auditor");
  expect(answer.status).toBe(409);
  expect(answer.json.detail).toContain("1000000");
  for (const id of ["x", "-1", "1.5", "9".repeat(30)]) {
    expect((await api.listen("/v1/events", "auditor", id)).status).toBe(422);
  }
});

test("a stream ends with its token, and at the end of the backend", async () => {
  const { id, token } = await api.service.createToken(
    { name: "odo", role: "auditor" },
    { name: "os:ada", role: "admin", agent: null, groups: [], token: null },
  );
  const mine = await api.listen("/v1/events", token);
  const other = await api.listen("/v1/events", "auditor");
  await api.did("POST", `/v1/tokens/${id}/revoke`, "admin");
  await waitFor(() => mine.over, "the end", 1_000);
  expect(JSON.parse(mine.events.at(-1)?.data ?? "").reason).toBe("credential");
  expect(mine.events.at(-1)?.id).toBeFalsy();
  expect((await api.listen("/v1/events", token)).status).toBe(401);
  await other.until(({ data }) => data.includes("revoked"));
  expect(other.over).toBe(false);
  const closing = api.app.close();
  await waitFor(() => other.over, "the end", 1_000);
  expect(JSON.parse(other.events.at(-1)?.data ?? "").reason).toBe("stopping");
  await closing;
});

test("a stream ends with its token also where the news of the revocation was missed", async () => {
  const wanted = { name: "late", role: "auditor" } as const;
  const late = await api.service.createToken(wanted, person());
  const stream = await api.listen("/v1/events", late.token);
  const store = await rawStore(api.home);
  store.exec(
    `BEGIN; UPDATE tokens SET revoked_at = 1 WHERE id = ${late.id};
     UPDATE counters SET value = value + 1 WHERE name = 'events'; COMMIT`,
  );
  store.close();
  await waitFor(() => stream.over, "the end", 2_000);
  expect(JSON.parse(stream.events.at(-1)?.data ?? "").reason).toBe("credential");
});

test("one credential has so many streams and no more, and another still has its own", async () => {
  const open: Listener[] = [];
  for (let n = 0; n < 64; n++) open.push(await api.listen("/v1/events", "auditor"));
  expect(open.every(({ status }) => status === 200)).toBe(true);
  expect((await api.listen("/v1/events", "auditor")).status).toBe(429);
  const other = await api.listen("/v1/events", "approver");
  expect(other.status).toBe(200);
  open.pop()?.leave();
  await expect
    .poll(async () => {
      const again = await api.listen("/v1/events", "auditor");
      open.push(again);
      return again.status;
    })
    .toBe(200);
  for (const listener of [...open, other]) listener.leave();
});
