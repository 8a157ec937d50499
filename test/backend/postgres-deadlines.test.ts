import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startCluster } from "../fixtures/postgres/cluster.js";
import {
  database,
  faultIn,
  insert,
  names,
  open,
  proxy,
  put,
  refused,
  store,
} from "../fixtures/postgres/faulty.js";
import { databaseOn } from "../fixtures/postgres.js";

test("a database that hangs cannot be opened, which is said after 5 s", async () => {
  proxy.hang();
  const start = performance.now();
  await expect(open(database.url.replace(database.host, proxy.host))).rejects.toMatchObject({
    code: "backend_unavailable",
    message: expect.stringContaining(database.name),
  });
  expect(performance.now() - start).toBeLessThan(6_000);
}, 10_000);

test("the lock of a process that is suspended in its transaction is free again after 5 s", async () => {
  const suspended = await open(database.url);
  await suspended.begin();
  await insert("a", suspended);
  const start = performance.now();
  while ((await faultIn(store.begin())) === "busy") await store.rollback();
  expect(performance.now() - start).toBeGreaterThan(4_000);
  expect(performance.now() - start).toBeLessThan(7_000);
  await insert("b");
  await store.commit();
  expect(await faultIn(insert("c", suspended))).toBe("store");
  await suspended.rollback();
  await put("d", suspended);
  expect(await names()).toEqual(["b", "d"]);
}, 15_000);

test("a commit that waits for a standby in vain is a fault, not a success that only this machine has", async () => {
  const cluster = await startCluster();
  try {
    const place = await databaseOn(cluster.host);
    const replicated = await open(place.url);
    await put("a", replicated);
    await place.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    await place.sql("SELECT pg_reload_conf()");
    await sleep(100);
    await replicated.begin();
    await insert("b", replicated);
    expect(await refused(replicated.commit(), "store")).toBeGreaterThan(1_000);
    await replicated.rollback();
    await replicated.close();
  } finally {
    await cluster.stop();
  }
}, 15_000);
