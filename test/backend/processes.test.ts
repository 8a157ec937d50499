import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Backend, KillReceipt, Verdict } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { Process } from "../fixtures/backend/processes.js";
import { agent, intent, open, outcomeOf, person, waitFor } from "../fixtures/backend/store.js";

describe.each(stores)("$name:", ({ make }) => {
  /** Milliseconds: with a machine full of processes it may take long until all of them have confirmed. */
  const lease = 1_000;

  let place: Place;
  let backend: Backend;
  let gateway: string;
  let processes: Process[];

  beforeEach(async () => {
    place = await make();
    processes = [];
    backend = await open(place, { lease });
    gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  });
  afterEach(async () => {
    for (const one of processes) await one.kill();
    await backend.close();
    await place.remove();
  });

  /** Others on the same store, and the ids of their gateways. */
  async function others(count: number): Promise<Array<{ process: Process; id: string }>> {
    const started = Array.from({ length: count }, () => new Process());
    processes.push(...started);
    return Promise.all(
      started.map(async (process) => {
        const { home, policies, database } = place;
        return { process, id: await process.ask<string>({ do: "open", home, policies, database, lease }) };
      }),
    );
  }

  async function other(): Promise<{ process: Process; id: string }> {
    const [one] = await others(1);
    if (one === undefined) throw new Error("no process");
    return one;
  }

  interface Tried {
    readonly id: number;
    readonly won: string | null;
    readonly verdict?: string;
    readonly said?: string;
  }

  describe("two processes on one store", () => {
    test("write thousands of records into one chain without a gap", async () => {
      const [one, two] = await others(2);
      const written = await Promise.all(
        [one, two].map((each) => each?.process.ask<number>({ do: "append", calls: 1_500, callers: 16 })),
      );
      expect(written).toEqual([1_500, 1_500]);
      await Promise.all([one, two].map((each) => each?.process.ask({ do: "close" })));
      expect(await backend.verify()).toMatchObject({ ok: true, open: 0 });
      // Of each call one decision and one outcome; the signed records between them have no key.
      expect(await place.sql("SELECT count(*) AS n FROM ledger WHERE key IS NOT NULL")).toEqual([
        { n: 6_000 },
      ]);
      expect(await backend.agents()).toMatchObject([{ allowed: 3_000 }]);
    }, 30_000);

    test("decide an approval once: of a hundred at the same time, each round has one winner", async () => {
      const rivals = await others(2);
      const ids: number[] = [];
      for (let round = 0; round < 8; round++) {
        ids.push((await backend.decide(intent(gateway, "write"))).approval?.id ?? 0);
      }
      const tries = (
        await Promise.all(
          rivals.map(({ process }, index) =>
            process.ask<Tried[]>({ do: "race", ids, deciders: 50, name: index === 0 ? "a" : "b" }),
          ),
        )
      ).flat();
      for (const id of ids) {
        const of = tries.filter((one) => one.id === id);
        const winners = of.filter(({ won }) => won !== null);
        expect(of.length).toBe(100);
        expect(winners.length).toBe(1);
        const [winner] = winners;
        expect(await backend.approval(id)).toMatchObject({ status: winner?.verdict, decidedBy: winner?.won });
        for (const { won, said } of of) if (won === null) expect(said).toContain(`by ${winner?.won}`);
      }
      const records = (await backend.records({ limit: 1_000 })).filter(({ kind }) => kind === "approval");
      expect(records.length).toBe(ids.length);
    }, 30_000);

    test("use an approval once, however many try to", async () => {
      const rivals = await others(2);
      for (let round = 0; round < 5; round++) {
        const call = intent(gateway, "write", `{"round":${round}}`);
        const id = (await backend.decide(call)).approval?.id ?? 0;
        await backend.decideApproval(id, "approved", person(), "");
        // The call itself, again and again as after lost answers, and calls that are equal but for their id.
        const intents = Array.from({ length: 20 }, (_, index) =>
          index % 2 === 0 ? call : { ...call, call: `${call.call}-${index}` },
        );
        const verdicts = await Promise.all(
          rivals.map(({ process }) => process.ask<Verdict[]>({ do: "release", intents, approval: id })),
        );
        const allowed = verdicts.flat().filter(({ decision }) => decision === "ALLOW");
        expect(new Set(allowed.map((verdict) => verdict.call))).toEqual(new Set([call.call]));
        const steps = await backend.records({ limit: 1_000, kinds: ["approval"] });
        const used = steps.filter(({ approval, decision }) => approval === id && decision === "consumed");
        expect(used).toHaveLength(1);
      }
      expect(await backend.verify()).toMatchObject({ ok: true });
    }, 30_000);

    test("hear of each other's decisions within 150 ms", async () => {
      const { process: rival } = await other();
      const heard = new Map<number, number>();
      backend.subscribe((event) => {
        if (event.kind === "approval" && event.status === "approved") heard.set(event.id, Date.now());
      });
      const delays: number[] = [];
      for (let round = 0; round < 5; round++) {
        const id = (await backend.decide(intent(gateway, "write"))).approval?.id ?? 0;
        const { done } = await rival.ask<{ done: number }>({ do: "decideApproval", id });
        await waitFor(() => heard.has(id), "the news of the decision");
        delays.push((heard.get(id) ?? 0) - done);
      }
      // The middle one: a busy machine may hold up any of them.
      expect(delays.toSorted((a, b) => a - b)[2]).toBeLessThan(150);
    }, 30_000);

    test("kill: the other has heard of it when the kill is acknowledged, and decides nothing afterwards", async () => {
      const { process: rival, id } = await other();
      const receipt = await backend.kill(agent, person(), "enough");
      expect(receipt.gateways.map((one) => [one.id, one.pid, one.confirmed])).toEqual(
        expect.arrayContaining([
          [gateway, process.pid, true],
          [id, rival.pid, true],
        ]),
      );
      expect((await rival.ask<Verdict>({ do: "decide", intent: intent(id) })).decision).toBe("KILLED");
      await waitFor(() => rival.heard.some(({ event }) => event.kind === "kill"), "the news of the kill");
    }, 30_000);

    test("a kill by one reaches the calls of the other, and waits for a gateway that hangs no longer than its lease", async () => {
      const [one, two] = await others(2);
      const told: string[] = [];
      backend.subscribe((event) => {
        if (event.kind === "kill") told.push(event.agent);
      });
      two?.process.signal("SIGSTOP");
      const receipt = await one?.process.ask<KillReceipt>({ do: "kill", agent });
      two?.process.signal("SIGCONT");
      const confirmed = new Map(receipt?.gateways.map((each) => [each.id, each.confirmed]));
      expect(told).toEqual([agent]);
      expect([confirmed.get(gateway), confirmed.get(one?.id ?? ""), confirmed.get(two?.id ?? "")]).toEqual([
        true,
        true,
        false,
      ]);
    }, 30_000);
  });

  describe("a process that is killed", () => {
    test("in the middle of its writes leaves a chain that verifies, and others go on", async () => {
      const { process: rival } = await other();
      await rival.ask({ do: "appendForever", callers: 32 });
      await waitFor(async () => (await backend.records({ limit: 1 }))[0]?.id !== undefined, "a record");
      await new Promise((resolve) => setTimeout(resolve, 300));
      await rival.kill();
      const report = await backend.verify();
      expect(report).toMatchObject({ ok: true });
      expect(report.records).toBeGreaterThan(100);
      expect((await backend.decide(intent(gateway))).decision).toBe("ALLOW");
    }, 30_000);

    test("had calls under way: the next gateway writes that their outcome is unknown, once", async () => {
      const { process: rival, id } = await other();
      const [ended, running, held] = [intent(id), intent(id), intent(id, "write")];
      for (const call of [ended, running, held]) await rival.ask({ do: "decide", intent: call });
      backend.outcome(outcomeOf(ended));
      await rival.kill();
      await waitFor(async () => (await backend.gateways()).length === 1, "the end of the gateway");
      await Promise.all(
        [1, 2].map(() => backend.attach({ pid: process.pid, label: "another", address: null })),
      );
      const outcomes = (await backend.records({ limit: 100 })).filter(({ kind }) => kind === "outcome");
      expect(outcomes).toMatchObject([
        { call: ended.call, outcome: "ok" },
        { call: running.call, outcome: "unknown", reason: expect.stringContaining("gateway ended") },
        { call: held.call, outcome: "refused" },
      ]);
      expect(await backend.verify()).toMatchObject({ ok: true, open: 0 });
    }, 30_000);

    test("while a call of it waited: the approval stays, and the repeat attaches to it", async () => {
      const { process: rival, id } = await other();
      const verdict = await rival.ask<Verdict>({ do: "decide", intent: intent(id, "write") });
      const approval = verdict.approval?.id ?? 0;
      expect(await backend.approval(approval)).toMatchObject({ status: "pending", waiting: true });
      await rival.kill();
      expect(await backend.approval(approval)).toMatchObject({ status: "pending", waiting: false });
      expect((await backend.decide(intent(gateway, "write"))).approval?.id).toBe(approval);
    }, 30_000);
  });

  test("a lock that another process holds for 3 s: refused in about 2 s, and works again when it is gone", async () => {
    const rival = new Process();
    processes.push(rival);
    await rival.ask({ do: "lock", home: place.home, database: place.database, ms: 3_000 });
    const start = performance.now();
    const refused = intent(gateway);
    await expect(backend.decide(refused)).rejects.toMatchObject({ code: "backend_unavailable" });
    expect(performance.now() - start).toBeGreaterThan(1_800);
    expect(performance.now() - start).toBeLessThan(2_600);
    await waitFor(
      async () => (await backend.decide(intent(gateway)).catch(() => null))?.decision === "ALLOW",
      "an ALLOW",
      5_000,
    );
    expect(await place.sql("SELECT id FROM ledger WHERE key = ?", refused.call)).toEqual([]);
  }, 30_000);
});
