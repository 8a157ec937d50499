import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Blocks } from "../../src/backend/blocks.js";
import type { Store } from "../../src/backend/store/store.js";
import { kinds, type Place } from "../fixtures/stores.js";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const now = 1_800_000_000_000;

describe.each(kinds)("blocks of the last day in $name", ({ make }) => {
  let place: Place;
  let store: Store;
  let blocks: Blocks;
  beforeEach(async () => {
    place = await make();
    store = await place.open();
    blocks = new Blocks(store);
  });
  afterEach(async () => {
    await place.remove();
  });

  const add = async (at: number, count: number): Promise<void> => {
    await store.begin();
    await blocks.add(at, count);
    await store.commit();
  };

  it("are counted for a day, and forgotten afterwards", async () => {
    expect(await blocks.lastDay(now)).toBe(0);
    await add(now, 2);
    await add(now + 1, 3);
    await add(now + 2 * MINUTE, 1);
    expect(await blocks.lastDay(now + 3 * MINUTE)).toBe(6);
    expect(await blocks.lastDay(now + DAY - 1)).toBe(6);
    expect(await blocks.lastDay(now + DAY + 2 * MINUTE)).toBe(1);
    expect(await blocks.lastDay(now + DAY + 4 * MINUTE)).toBe(0);
  });

  it("take no more room than the minutes of a day", async () => {
    for (let minute = 0; minute < 1_500; minute += 100) await add(now + minute * MINUTE, 1);
    await add(now + 2 * DAY, 1);
    expect(await place.sql("SELECT minute, count FROM blocks")).toHaveLength(1);
  });
});
