import { afterEach, beforeEach, expect, test } from "vitest";
import type { Backend } from "../../src/client/backend.js";
import { ApprovalDesk } from "../../src/gateway/approval-desk.js";
import { KillSwitch } from "../../src/gateway/kill-switch.js";
import { agent, intent, makeHome, open, person, rawStore, waitFor } from "../fixtures/backend/store.js";

let place: ReturnType<typeof makeHome>;
let backend: Backend;

beforeEach(async () => {
  place = makeHome();
  backend = await open(place);
});
afterEach(async () => {
  await backend.close();
  place.remove();
});

/** Changes the store as another process does whose events are forgotten before this one has read them. */
async function behindOurBack(sql: string): Promise<void> {
  const store = await rawStore(place.home);
  store.exec(`BEGIN; ${sql}; UPDATE counters SET value = value + 1 WHERE name = 'events'; COMMIT`);
  store.close();
}

test("a kill that was missed stops the calls under way, and a revive that was missed lets go on", async () => {
  const { killSwitch, unsubscribe } = await KillSwitch.following(backend);
  const killed: string[] = [];
  killSwitch.onKill((name) => killed.push(name));
  await behindOurBack(`UPDATE agents SET status = 'KILLED' WHERE name = '${agent}'`);
  await waitFor(() => killSwitch.isKilled(agent), "the kill");
  expect(killed).toEqual([agent]);
  await behindOurBack(`UPDATE agents SET status = 'ACTIVE' WHERE name = '${agent}'`);
  await waitFor(() => !killSwitch.isKilled(agent), "the revive");
  expect(killed).toEqual([agent]);
  unsubscribe();
});

test("what is heard while the state is read anew is newer than what is read", async () => {
  await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  let answer: (() => void) | null = null;
  const { killSwitch, unsubscribe } = await KillSwitch.following(backend);
  const agents = backend.agents.bind(backend);
  backend.agents = async () => {
    const read = await agents();
    await new Promise<void>((resolve) => {
      answer = resolve;
    });
    return read;
  };
  await behindOurBack("UPDATE agents SET owner = ''");
  await waitFor(() => answer !== null, "the question");
  const killing = backend.kill(agent, person(), "");
  await waitFor(() => killSwitch.isKilled(agent), "the kill");
  (answer as (() => void) | null)?.();
  // Confirmed where what was missed is read, too.
  expect((await killing).gateways).toMatchObject([{ confirmed: true }]);
  expect(killSwitch.isKilled(agent)).toBe(true);
  unsubscribe();
});

test("a decision that was missed reaches the call that waits for it", async () => {
  const gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  const id = (await backend.decide(intent(gateway, "write"))).approval?.id ?? 0;
  const desk = new ApprovalDesk(backend);
  const close = desk.open();
  const told: string[] = [];
  const leave = desk.wait(id, (status) => told.push(status));
  await waitFor(() => told.includes("pending"), "its state");
  await behindOurBack(`UPDATE approvals SET status = 'approved' WHERE id = ${id}`);
  await waitFor(() => told.includes("approved"), "the approval");
  leave();
  close();
});
