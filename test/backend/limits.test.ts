import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import { type Governed, govern } from "../fixtures/backend/governed.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, open, outcomeOf, person } from "../fixtures/backend/store.js";

const policy = `
default: block
on_change: allow
allow:
  - files__read
  - files__limited
  - files__busy
  - { action: files__counted, when: 'calls.hour < 2' }
review: [files__write]
limits:
  - { action: files__limited, calls: 10, per: 1h, reason: Ten an hour }
  - { action: files__write, calls: 1, per: 1h }
  - { action: files__busy, concurrent: 2 }
`;

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let governed: Governed;
  let others: Service[];

  beforeEach(async () => {
    place = await make();
    governed = await govern(place, policy);
    others = [];
  });
  afterEach(async () => {
    for (const backend of [governed.backend, ...others]) await backend.close();
    await place.remove();
  });

  describe("a limit on calls in a window", () => {
    test("lets through as many as it says, whichever backend on the store is asked, and however many at once", async () => {
      const other = await open(place);
      others.push(other);
      const gateway = await other.attach({ pid: process.pid, label: "wrap files", address: null });
      const asked = Array.from({ length: 100 }, (_, index) =>
        index % 2 === 0
          ? governed.decide("limited", { index })
          : other.decide(intent(gateway, "limited", JSON.stringify({ index }))),
      );
      const verdicts = await Promise.all(asked);
      expect(verdicts.filter(({ decision }) => decision === "ALLOW")).toHaveLength(10);
      const refused = verdicts.filter(({ decision }) => decision === "BLOCK");
      expect(refused).toHaveLength(90);
      expect(refused[0]?.rule).toMatch(/claude\.yaml:\d+ limits? files__limited/);
    });

    test("counts nobody else's calls, and no calls that were refused", async () => {
      await governed.backend.ensureAgent("claude-other");
      for (let index = 0; index < 10; index++) await governed.decide("limited");
      expect((await governed.decide("limited")).decision).toBe("BLOCK");
      expect((await governed.decide("limited", {}, { agent: "claude-other" })).decision).toBe("ALLOW");
      expect((await governed.decide("read")).decision).toBe("ALLOW");
    });

    test("forgets a call when its window has passed, but not before", async () => {
      for (let index = 0; index < 10; index++) await governed.decide("limited");
      const slots = (await place.sql("SELECT slot, width FROM call_counts")) as Array<
        Record<string, unknown>
      >;
      expect(slots.length).toBeGreaterThan(0);
      expect(slots.every(({ width }) => Number(width) === 60_000)).toBe(true);
      await place.sql("UPDATE call_counts SET slot = slot - 58");
      expect((await governed.decide("limited")).decision).toBe("BLOCK");
      await place.sql("UPDATE call_counts SET slot = slot - 4");
      expect((await governed.decide("limited")).decision).toBe("ALLOW");
    });

    test("survives a restart", async () => {
      for (let index = 0; index < 10; index++) await governed.decide("limited");
      await governed.backend.close();
      governed = await govern(place, policy);
      expect((await governed.decide("limited")).decision).toBe("BLOCK");
    });

    test("does not refuse the renewal of a lease: the call is one of those it let through", async () => {
      const calls = Array.from({ length: 10 }, (_, index) => governed.call("limited", { index }));
      for (const call of calls) expect((await governed.backend.decide(call)).decision).toBe("ALLOW");
      for (const call of calls)
        expect(await governed.backend.release(call, null)).toMatchObject({ decision: "ALLOW" });
      expect((await governed.decide("limited")).decision).toBe("BLOCK");
    });

    test("that refuses a release leaves the approval: the call is repeated once there is room", async () => {
      const { backend } = governed;
      const [first, second] = [governed.call("write", { n: 1 }), governed.call("write", { n: 2 })];
      const ids = [];
      for (const call of [first, second]) {
        const { approval } = await backend.decide(call);
        ids.push(approval?.id ?? 0);
        await backend.decideApproval(approval?.id ?? 0, "approved", person(), "");
      }
      expect((await backend.release(first, ids[0] ?? 0)).decision).toBe("ALLOW");
      const refused = await backend.release(second, ids[1] ?? 0);
      expect(refused).toMatchObject({
        decision: "BLOCK",
        reason: expect.stringContaining("repeat exactly the same call"),
        approval: { status: "approved" },
      });
      await place.sql("DELETE FROM call_counts");
      const repeat = governed.call("write", { n: 2 });
      expect(await backend.decide(repeat)).toMatchObject({ approval: { id: ids[1], status: "approved" } });
      expect((await backend.release(repeat, ids[1] ?? 0)).decision).toBe("ALLOW");
    });
  });

  test("a condition on calls sees those that were let through, also in its own transaction", async () => {
    const verdicts = await Promise.all([1, 2, 3, 4].map(() => governed.decide("counted")));
    expect(verdicts.map(({ decision }) => decision)).toEqual(["ALLOW", "ALLOW", "BLOCK", "BLOCK"]);
  });

  test("what no policy asks for is not counted", async () => {
    await governed.decide("read");
    expect(await place.sql("SELECT * FROM call_counts")).toEqual([]);
    expect(await place.sql("SELECT * FROM running_calls")).toEqual([]);
  });

  describe("a limit on calls that run", () => {
    test("counts those that have no outcome, in one turn and after it", async () => {
      const calls = [1, 2, 3].map((n) => governed.call("busy", { n }));
      const verdicts = await Promise.all(calls.map((call) => governed.backend.decide(call)));
      expect(verdicts.map(({ decision }) => decision)).toEqual(["ALLOW", "ALLOW", "BLOCK"]);
      expect((await governed.decide("busy")).decision).toBe("BLOCK");
      const [ended = governed.call("busy")] = calls;
      await governed.backend.conclude([outcomeOf(ended)]);
      expect((await governed.decide("busy")).decision).toBe("ALLOW");
      expect((await governed.decide("busy")).decision).toBe("BLOCK");
    });

    test("hears of the end that a gateway of this process tells in passing", async () => {
      const calls = [1, 2].map((n) => governed.call("busy", { n }));
      for (const call of calls) await governed.backend.decide(call);
      for (const call of calls) governed.backend.outcome(outcomeOf(call));
      expect((await governed.decide("busy")).decision).toBe("ALLOW");
    });

    test("does not count what a dead gateway left, which is swept", async () => {
      const dead = await open(place);
      const gateway = await dead.attach({ pid: process.pid, label: "wrap files", address: null });
      for (const n of [1, 2]) await dead.decide(intent(gateway, "busy", JSON.stringify({ n })));
      expect((await governed.decide("busy")).decision).toBe("BLOCK");
      await dead.close();
      expect((await governed.decide("busy")).decision).toBe("ALLOW");
      await expect
        .poll(async () => await place.sql("SELECT call FROM running_calls WHERE gateway = ?", gateway))
        .toEqual([]);
    });

    test("does not count a call against its own lease", async () => {
      const calls = [1, 2].map((n) => governed.call("busy", { n }));
      for (const call of calls) await governed.backend.decide(call);
      for (const call of calls) expect((await governed.backend.release(call, null)).decision).toBe("ALLOW");
    });
  });

  test("a kill is not a limit: what it stops is KILLED", async () => {
    for (let index = 0; index < 10; index++) await governed.decide("limited");
    await governed.backend.kill(agent, person(), "");
    expect((await governed.decide("limited")).decision).toBe("KILLED");
  });
});
