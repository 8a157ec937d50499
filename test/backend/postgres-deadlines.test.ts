import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openPostgres } from "../../src/backend/store/postgres.js";
import type { Store } from "../../src/backend/store/store.js";
import { createLogger } from "../../src/log.js";
import { startCluster } from "../fixtures/postgres/cluster.js";
import { Between } from "../fixtures/postgres/proxy.js";
import { type Database, databaseOn, openDatabase, postgresAvailable } from "../fixtures/postgres.js";

let database: Database;
let proxy: Between;
let store: Store;
const stores: Store[] = [];

async function open(url: string): Promise<Store> {
  const opened = await openPostgres(url, { log: createLogger("silent") });
  stores.push(opened);
  return opened;
}

beforeEach(async ({ skip }) => {
  if (!postgresAvailable) skip("there is no PostgreSQL here");
  database = await openDatabase();
  await database.sql("SET search_path = aegis");
  proxy = new Between(database.host);
  await proxy.start();
  store = await open(database.url.replace(database.host, proxy.host));
});
afterEach(async () => {
  if (!postgresAvailable) return;
  proxy.resume();
  await Promise.all(stores.splice(0).map((one) => one.close()));
  proxy.stop();
  await database.stop();
});

function insert(name: string, into = store): Promise<number> {
  return into.writer.prepare("INSERT INTO settings (name, value) VALUES (?, '')").run(name);
}

async function put(name: string, into = store): Promise<void> {
  await into.begin();
  await insert(name, into);
  await into.commit();
}

async function names(): Promise<unknown[]> {
  return (await database.sql("SELECT name FROM settings ORDER BY name")).map(({ name }) => name);
}

async function faultIn(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => "none",
    (thrown: unknown) => store.faultOf(thrown),
  );
}

/** Milliseconds until `work` was refused with this fault. */
async function refused(work: Promise<unknown>, fault: string): Promise<number> {
  const start = performance.now();
  expect(await faultIn(work)).toBe(fault);
  return performance.now() - start;
}

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
