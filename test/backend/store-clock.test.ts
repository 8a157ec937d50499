/** Backends on several machines do not agree about the time; the database's clock is the one that counts. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { Backend } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, open, person } from "../fixtures/backend/store.js";

const shared = stores.find(({ name }) => name === "PostgreSQL");
const hour = 3_600_000;

describe.runIf(shared !== undefined)("on a machine whose clock is wrong, over PostgreSQL", () => {
  let place: Place;
  let backend: Backend;

  /** From here on the clock of this process shows another time, which goes on. */
  const shift = (milliseconds: number): void => {
    const real = Date.now;
    vi.spyOn(Date, "now").mockImplementation(() => real.call(Date) + milliseconds);
  };

  beforeEach(async () => {
    if (shared === undefined) throw new Error("there is none");
    place = await shared.make();
    backend = await open(place);
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await backend.close();
    await place.remove();
  });

  test.each([-hour, 6_000, hour])(
    "by %i ms, a kill still waits for the gateways that were enlisted elsewhere",
    async (wrong) => {
      const service = backend as Service;
      await service.enlist(
        { pid: 1, label: "wrap", address: null, host: "elsewhere" },
        person("gate", "agent"),
      );
      shift(wrong);
      const begin = performance.now();
      const receipt = await backend.kill(agent, person(), "");
      expect(receipt.gateways).toMatchObject([{ confirmed: false }]);
      expect(performance.now() - begin).toBeGreaterThan(1_900);
    },
  );

  test("by an hour, an approval is as old as it is", async () => {
    const gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
    const id = (await backend.decide(intent(gateway, "write"))).approval?.id ?? 0;
    shift(hour + 60_000);
    expect((await backend.decideApproval(id, "approved", person(), "")).status).toBe("approved");
    const [record] = await backend.records({ limit: 1, kinds: ["approval"] });
    expect(Math.abs(Date.parse(record?.at ?? "") - (Date.now() - hour - 60_000))).toBeLessThan(5_000);
  });
});
