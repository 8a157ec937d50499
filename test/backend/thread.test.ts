/** The backend in its thread: the built one. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import { startThread } from "../../src/backend/thread/threaded.js";
import { createLogger } from "../../src/log.js";
import { loadPolicies } from "../../src/policy/file/load.js";
import { agent, makeHome, person } from "../fixtures/backend/store.js";

let place: ReturnType<typeof makeHome>;
let backend: Service;

beforeEach(async () => {
  place = makeHome();
  const thread = startThread(new URL("../../dist/backend/thread/thread.js", import.meta.url));
  const policies = await loadPolicies(place.policies, { bareNames: false });
  const options = { home: place.home, policies, holdExpires: 60_000 };
  backend = await thread.open(options, createLogger("silent"), () => {});
  await backend.ensureAgent(agent);
  await backend.attach({ pid: process.pid, label: "wrap files", address: null });
});
afterEach(async () => {
  await backend.close();
  place.remove();
});

test("a kill is confirmed when the listeners on this side have finished with it", async () => {
  let finished = false;
  backend.subscribe(async (event) => {
    if (event.kind !== "kill") return;
    await new Promise((resolve) => setTimeout(resolve, 50));
    finished = true;
  });
  expect((await backend.kill(agent, person(), "")).gateways).toMatchObject([{ confirmed: true }]);
  expect(finished).toBe(true);
});

test("a kill that a listener on this side failed with is not confirmed", async () => {
  backend.subscribe((event) => {
    if (event.kind === "kill") throw new Error("no");
  });
  expect((await backend.kill(agent, person(), "")).gateways).toMatchObject([{ confirmed: false }]);
});

test("a token that was proved on this side proves nothing once it is revoked", async () => {
  const { id, token } = await backend.createToken({ name: "ci", role: "admin" }, person());
  expect(await backend.authenticate(token)).not.toBeNull();
  const heard = new Promise<void>((resolve) => {
    backend.subscribe((event) => {
      if (event.kind === "token") resolve();
    });
  });
  await backend.revokeToken(id, person());
  await heard;
  expect(await backend.authenticate(token)).toBeNull();
});
