import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import { createLogger } from "../../src/log.js";
import { loadPolicies } from "../../src/policy/file/load.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, person, waitFor } from "../fixtures/backend/store.js";

const one = person("token:one", "agent");
const two = person("token:two", "agent");
const most = 100;

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let service: Service;

  beforeEach(async () => {
    place = await make();
    service = await openBackend({
      home: place.home,
      ...(place.database === undefined ? {} : { database: place.database }),
      policies: await loadPolicies(place.policies, { bareNames: false }),
      holdExpires: 3_600_000,
      log: createLogger("silent"),
    });
    await service.ensureAgent(agent);
  });
  afterEach(async () => {
    await service.close();
    await place.remove();
  });

  async function enlist(by = one): Promise<string> {
    const gateway = { pid: 7, label: "wrap files", address: null, host: "desk-1" };
    return (await service.enlist(gateway, by)).id;
  }

  /** As if it had given no sign of life for this long. */
  async function silence(gateway: string, ms: number): Promise<void> {
    await place.sql("UPDATE gateways SET heartbeat = heartbeat - ? WHERE id = ?", ms, gateway);
  }

  async function rows(): Promise<number> {
    const [row] = (await place.sql("SELECT count(*) AS count FROM gateways")) as [{ count: number | string }];
    return Number(row.count);
  }

  test("of one principal 100 gateways may live, and another one once one of them is gone", async () => {
    const ids = await Promise.all(Array.from({ length: most }, () => enlist()));
    await expect(enlist()).rejects.toMatchObject({
      code: "too_many_gateways",
      message: expect.stringContaining(`token:one has ${most} gateways`),
    });
    expect(await rows()).toBe(most);
    expect(await service.beat(ids[0] ?? "", 0, one)).toBe(true);
    // Another's are its own, and a gateway of this process is nobody's.
    await enlist(two);
    await service.attach({ pid: process.pid, label: "wrap files", address: null });

    await service.dismiss(ids[0] ?? "", one);
    await enlist();
    await expect(enlist()).rejects.toMatchObject({ code: "too_many_gateways" });
    await silence(ids[1] ?? "", 10_000);
    await enlist();
    await expect(enlist()).rejects.toMatchObject({ code: "too_many_gateways" });
  });

  test("those that have been silent for a minute are removed, with the end of their calls, whoever comes", async () => {
    const ids = await Promise.all(Array.from({ length: 50 }, () => enlist()));
    const dead = ids[0] ?? "";
    const running = intent(dead);
    await service.decide(running);
    const living = await enlist();
    for (const id of ids) await silence(id, 61_000);
    await waitFor(async () => (await rows()) === 1, "the end of the dead", 3_500);
    expect(await service.beat(living, 0, one)).toBe(true);
    expect(await service.beat(dead, 0, one)).toBe(false);
    const ends = (await service.records({ limit: 100 })).filter(({ kind }) => kind === "outcome");
    expect(ends).toMatchObject([{ call: running.call, outcome: "unknown" }]);
  });

  test("a repeat attaches where its waiter's gateway has died, and not where it lives", async () => {
    const [first, second] = [await enlist(), await enlist()];
    const hold = async (gateway: string): Promise<number | undefined> =>
      (await service.decide(intent(gateway, "write"))).approval?.id;
    const id = await hold(first);
    const own = await hold(second);
    expect(own).not.toBe(id);
    await silence(first, 10_000);
    expect(await hold(second)).toBe(id);
    expect(await hold(second)).not.toBe(id);
    expect(await service.approval(own ?? 0)).toMatchObject({ waiting: true });
  });
});
