import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type BackendProcess, startBackend } from "../fixtures/backend/process.js";
import { type Finished, makePlace, type Place } from "../fixtures/gateway.js";

let place: Place;
let backend: BackendProcess;
beforeEach(async () => {
  place = makePlace();
  backend = await startBackend(place, [], {});
});
afterEach(async () => {
  await backend.stop();
  place.remove();
});

const there = (...args: string[]): Promise<Finished> => place.cli([...args, "--backend", backend.url]);

it("revoking the token in use is warned of, and what it refuses then says how to get another", async () => {
  const file = join(place.home, "admin.token");
  const other = await there("token", "create", "--role", "auditor", "--name", "other", "--json");
  const { id } = JSON.parse(other.stdout) as { id: number };
  expect((await there("token", "revoke", String(id))).stderr).toBe("");

  const revoked = await there("token", "revoke", "1");
  expect(revoked).toMatchObject({ code: 0, stdout: expect.stringContaining("Revoked token 1") as string });
  expect(revoked.stderr).toMatch(/warning: token 1 is the one that commands use here/);
  const refused = await there("status");
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain(`It is from ${file}. Restart \`aegis backend\``);

  await backend.stop();
  backend = await startBackend(place, [], {});
  expect((await there("status")).code).toBe(0);
});

it("is warned of where the store itself is asked, for the token of AEGIS_HOME", async () => {
  const revoked = await place.cli(["token", "revoke", "1"]);
  expect(revoked.stderr).toMatch(/warning: token 1 is the one that commands use here/);
});
