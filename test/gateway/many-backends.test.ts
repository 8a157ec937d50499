/** Two backends and three gateways on one PostgreSQL, under load, while one backend is killed and comes back. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerRecord } from "../../src/client/backend.js";
import { jsonLines, makePlace } from "../fixtures/gateway.js";
import { checkLedger, readLedger } from "../fixtures/ledger.js";
import { eventually } from "../fixtures/person.js";
import { type Database, openDatabase, postgresAvailable } from "../fixtures/postgres.js";
import { type Frame, RawStdio, refusalIn } from "../fixtures/raw.js";
import { BackendProcess, makeHomes, remoteWrapWay } from "../fixtures/remote.js";
import { fakeServer } from "../fixtures/servers.js";

const policy = 'agent: "*"\non_change: allow\nallow: ["*__echo"]\nreview: ["*__pay"]\n';
/** Callers of each gateway, beside one that pays. */
const CALLERS = 8;

describe.runIf(postgresAvailable)("one of two backends killed under load", () => {
  const place = makePlace({ "all.yaml": policy });
  let database: Database;
  let doomed: BackendProcess;
  let other: BackendProcess;
  let approver: string;
  let gateways: RawStdio[];
  let canaries = 0;
  let over = false;
  const counts = { ran: 0, refused: 0, paid: 0 };
  const slowest = { refusal: 0 };

  beforeAll(async () => {
    database = await openDatabase();
    const backend = (home: string): Promise<BackendProcess> =>
      BackendProcess.start(place, { home, database: database.url });
    const [first = "", second = ""] = makeHomes(place, 2);
    // At once: the schema is made once, whoever comes first.
    [doomed, other] = await Promise.all([backend(first), backend(second)]);
    approver = (await other.makeToken("alice", "approver")).token;
    gateways = await Promise.all(
      [doomed, doomed, other].map(async ({ url }, index) => {
        const { token } = await other.makeToken(`gate-${index}`, "agent", `bot-${index}`);
        const env = { AEGIS_BACKEND_URL: url, AEGIS_TOKEN: token };
        return RawStdio.connect(remoteWrapWay(place, fakeServer(), env));
      }),
    );
  });
  afterAll(async () => {
    over = true;
    await Promise.all((gateways ?? []).map((gateway) => gateway.close()));
    await Promise.all([doomed?.stop(), other?.stop()]);
    await database?.stop();
    place.remove();
  });

  const call = async (gateway: RawStdio, tool: string): Promise<Frame> => {
    const canary = `many-${canaries++}-`;
    const begin = performance.now();
    const frame = await gateway.call(tool, { args: { canary } }).answer;
    if (refusalIn(frame) === undefined) counts[tool === "pay" ? "paid" : "ran"]++;
    else {
      counts.refused++;
      slowest.refusal = Math.max(slowest.refusal, tool === "pay" ? 0 : performance.now() - begin);
    }
    return frame;
  };
  const load = async (gateway: RawStdio, tool: string): Promise<void> => {
    while (!over) await call(gateway, tool);
  };
  /** Approves whatever waits, at both backends, twice each: one of the two is told so. */
  const person = async (): Promise<void> => {
    while (!over) {
      const { stdout } = await other.cli(["approvals", "--json"]);
      for (const { id } of jsonLines<{ id: number }>(stdout).slice(0, 5)) {
        const approve = (backend: BackendProcess) =>
          backend.cli(["approve", String(id)], { AEGIS_TOKEN: approver });
        const done = await Promise.all([approve(other), approve(doomed)]);
        expect(done.filter(({ code }) => code === 0).length).toBeLessThanOrEqual(1);
      }
    }
  };

  it("loses no record, uses no approval twice, keeps the chain whole, and works again within 5 s", async () => {
    const working = [
      ...gateways.flatMap((gateway) => [
        ...Array.from({ length: CALLERS }, () => load(gateway, "echo")),
        load(gateway, "pay"),
      ]),
      person(),
    ];
    await eventually(
      "calls that run",
      async () => (counts.ran > 300 && counts.paid > 0 ? true : undefined),
      30_000,
    );
    await doomed.crash();
    const refusedBefore = counts.refused;
    await eventually(
      "refusals",
      async () => (counts.refused > refusedBefore + 20 ? true : undefined),
      10_000,
    );
    // The other half of the system does not notice.
    const survivor = gateways[2];
    if (survivor === undefined) throw new Error("three were started");
    const answer = await survivor.call("echo", { args: { canary: `many-survivor-${canaries++}-` } }).answer;
    expect(refusalIn(answer)).toBeUndefined();
    await sleep(1_000);
    await doomed.restart();
    const back = performance.now();
    for (const gateway of gateways.slice(0, 2)) {
      await eventually(
        "a call that runs again",
        async () => (refusalIn(await call(gateway, "echo")) === undefined ? true : undefined),
        5_000,
      );
    }
    expect(performance.now() - back).toBeLessThan(5_000);
    const paid = counts.paid;
    await eventually("a payment after it", async () => (counts.paid > paid ? true : undefined), 20_000);
    over = true;
    // What is still held ends with its approval, or with its gateway.
    for (const { id } of jsonLines<{ id: number }>((await other.cli(["approvals", "--json"])).stdout))
      await other.cli(["deny", String(id)], { AEGIS_TOKEN: approver });
    await Promise.all(working);
    expect(slowest.refusal).toBeLessThan(3_000);

    const records: LedgerRecord[] = [];
    for (;;) {
      const path = `/v1/ledger?limit=1000&after=${records.at(-1)?.id ?? 0}`;
      const page = await fetch(other.url + path, { headers: { authorization: `Bearer ${other.token}` } });
      const { records: found } = (await page.json()) as { records: LedgerRecord[] };
      if (found.length === 0) break;
      records.push(...found);
    }
    const { executions } = readLedger(place.ledger);
    expect(executions.length).toBeGreaterThanOrEqual(counts.ran + counts.paid);
    expect(checkLedger(executions, records)).toEqual([]);
    const used = records
      .filter(({ kind, decision }) => kind === "approval" && decision === "consumed")
      .map(({ approval }) => approval);
    expect(new Set(used).size).toBe(used.length);
    expect(used.length).toBeGreaterThan(0);
    const verified = await other.cli(["audit", "verify"]);
    expect(verified).toMatchObject({ code: 0 });
  }, 120_000);
});
