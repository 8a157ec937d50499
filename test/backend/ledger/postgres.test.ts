import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { rotate, type Segment } from "../../../src/backend/ledger/rotate.js";
import { verify } from "../../../src/backend/ledger/verify.js";
import { openBackend } from "../../../src/backend/open-backend.js";
import { readLedgerOf, writeLedgerOf } from "../../../src/backend/open-ledger.js";
import type { Service } from "../../../src/backend/service.js";
import type { VerifyReport } from "../../../src/client/backend.js";
import { createLogger } from "../../../src/log.js";
import { loadPolicies } from "../../../src/policy/file/load.js";
import { linesOfFile, runCalls } from "../../fixtures/backend/ledger.js";
import { agent, makeHome, person } from "../../fixtures/backend/store.js";
import { type Database, openDatabase, postgresAvailable } from "../../fixtures/postgres.js";

type Home = ReturnType<typeof makeHome>;
const log = createLogger("silent");

describe.skipIf(!postgresAvailable)("the ledger of several backends on one PostgreSQL", () => {
  let database: Database;
  let one: Home;
  let two: Home;

  beforeEach(async () => {
    database = await openDatabase();
    one = makeHome();
    two = makeHome();
    for (const { home } of [one, two]) {
      mkdirSync(home, { mode: 0o700 });
      writeFileSync(join(home, "store.key"), `${Buffer.alloc(32, 5).toString("base64")}\n`, { mode: 0o600 });
      writeFileSync(join(home, "config.yaml"), "ledger: { checkpoint: { records: 10, every: 1s } }\n");
    }
  });
  afterEach(async () => {
    await database.stop();
    for (const home of [one, two]) home.remove();
  });

  async function backendIn({ home, policies }: Home, url = database.url, logger = log): Promise<Service> {
    const backend = await openBackend({
      home,
      database: url,
      policies: await loadPolicies(policies, { bareNames: false }),
      holdExpires: 60_000,
      log: logger,
    });
    await backend.ensureAgent(agent);
    return backend;
  }

  function check({ home }: Home, segments: string | null = null): Promise<VerifyReport> {
    return readLedgerOf({ home, database: database.url, log }, ({ store, signer }) =>
      verify(store, {
        keys: signer.trusted(),
        anchors: [join(home, "ledger.anchor")],
        unsigned: 10,
        segments,
      }),
    );
  }

  test("is one chain, signed by each with its own key: who believes one key does not believe the other", async () => {
    const backends = await Promise.all([backendIn(one), backendIn(two)]);
    await Promise.all(backends.map((backend) => runCalls(backend, 30)));
    for (const backend of backends) await backend.close();
    const report = await check(one);
    expect(report).toMatchObject({
      ok: false,
      broken: { reason: expect.stringContaining("is not trusted") },
    });
    for (const [home, other] of [
      [one, two],
      [two, one],
    ] as const) {
      appendFileSync(join(home.home, "ledger.pub"), readFileSync(join(other.home, "ledger.pub")));
      const { ok, evidence } = await check(home);
      expect(ok).toBe(true);
      expect(evidence?.keys.length).toBe(2);
    }
  });

  test("is said at the start not to verify in a home that does not know the other's key", async () => {
    const first = await backendIn(one);
    await runCalls(first, 30);
    await first.close();
    const said: unknown[] = [];
    const listening = createLogger("silent");
    listening.warn = (what: unknown) => said.push(what);
    const second = await backendIn(two, database.url, listening);
    expect(said).toEqual([{ key: expect.stringMatching(/^[0-9a-f]{64}$/) as string }]);
    await second.close();
    said.length = 0;
    appendFileSync(join(two.home, "ledger.pub"), readFileSync(join(one.home, "ledger.pub")));
    await (await backendIn(two, database.url, listening)).close();
    expect(said).toEqual([]);
  });

  test("is told to the anchors of all by whoever runs, whoever signs", async () => {
    const backends = [await backendIn(one), await backendIn(two)];
    await Promise.all(backends.slice(0, 1).map((backend) => runCalls(backend, 30)));
    const lines = (): string[][] => [one, two].map(({ home }) => linesOfFile(join(home, "ledger.anchor")));
    await expect
      .poll(() => lines().map((each) => each.at(-1)), { timeout: 10_000 })
      .toSatisfy(([here, there]: string[]) => here !== undefined && here === there);
    for (const backend of backends) await backend.close();
  });

  test("rotates with the URL of the tables' owner, and not without", async () => {
    const backend = await backendIn(one);
    await runCalls(backend, 60);
    await backend.close();
    const { home } = one;
    const folder = join(home, "segments");
    const moved = (url: string): Promise<Segment[]> =>
      writeLedgerOf({ home, database: url, log }, async (parts) => {
        const found: Segment[] = [];
        for await (const segment of rotate(parts, { before: { id: 60 }, folder, by: person() }))
          found.push(segment);
        return found;
      });
    const member = await database.urlOf("aegis_rotator");
    await database.sql('GRANT aegis_app TO "aegis_rotator"');
    await expect(moved(member)).rejects.toMatchObject({ code: "not_permitted" });
    expect(await check(one)).toMatchObject({ ok: true, evidence: { first: 1 } });

    const [segment] = await moved(database.url);
    expect(segment).toMatchObject({ first: 1 });
    expect(await check(one)).toMatchObject({ ok: true, evidence: { first: (segment?.last ?? 0) + 1 } });
    expect(await check(one, folder)).toMatchObject({ ok: true, evidence: { first: 1 } });
    await expect(database.sql("DELETE FROM aegis.ledger")).rejects.toThrow("append-only");
    expect(await database.sql("SELECT count(*) AS count FROM aegis.moved_calls")).not.toEqual([{ count: 0 }]);
    for (const table of ["signed_records", "moved_calls"]) {
      for (const change of [
        `DELETE FROM aegis.${table}`,
        `UPDATE aegis.${table} SET ${table === "moved_calls" ? "call = 'x'" : "until = 1000000"}`,
        `TRUNCATE aegis.${table}`,
      ]) {
        await expect(database.sql(change), "even the superuser").rejects.toThrow("append-only");
        await expect(database.sql(`SET ROLE aegis_app; ${change}`)).rejects.toThrow("permission denied");
      }
    }

    const again = await backendIn(one, member);
    await runCalls(again, 10);
    expect(await again.verify()).toMatchObject({ ok: true });
    await again.close();
  });
});
