import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GroupCommit } from "../../src/backend/store/commit.js";
import { Counters } from "../../src/backend/store/counters.js";
import type { Store, Value } from "../../src/backend/store/store.js";
import { createLogger } from "../../src/log.js";
import { waitFor } from "../fixtures/backend/store.js";
import { kinds, type Place } from "../fixtures/stores.js";

/** A setting, in a transaction of its own. */
async function put(store: Store, name: string, value = ""): Promise<void> {
  await store.begin();
  await insert(store, name, value);
  await store.commit();
}

function insert(store: Store, name: string, value = ""): Promise<number> {
  return store.writer.prepare("INSERT INTO settings (name, value) VALUES (?, ?)").run(name, value);
}

async function names(store: Store): Promise<string[]> {
  const rows = (await store.reader.prepare("SELECT name FROM settings ORDER BY name").all()) as Array<{
    name: string;
  }>;
  return rows.map(({ name }) => name);
}

/** What the store says of the error of `work`. */
async function faultIn(store: Store, work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => "none",
    (thrown: unknown) => store.faultOf(thrown),
  );
}

/** Begins when it is this store's turn. */
async function turn(store: Store): Promise<void> {
  for (;;) {
    try {
      await store.begin();
      return;
    } catch (thrown) {
      await store.rollback();
      if (store.faultOf(thrown) !== "busy") throw thrown;
    }
    await sleep(1);
  }
}

describe.each(kinds)("$name", ({ make, name: kind }) => {
  let place: Place;
  let store: Store;
  beforeEach(async () => {
    place = await make();
    store = await place.open();
  });
  afterEach(async () => {
    await place.remove();
  });

  describe("a transaction", () => {
    test("is seen by others once it is committed, and inside of it at once", async () => {
      const other = await place.open();
      await store.begin();
      await insert(store, "a");
      expect(await store.writer.prepare("SELECT name FROM settings").all()).toEqual([{ name: "a" }]);
      expect([await names(store), await names(other)]).toEqual([[], []]);
      await store.commit();
      expect([await names(store), await names(other)]).toEqual([["a"], ["a"]]);
    });

    test("that is rolled back leaves nothing, and the next one begins", async () => {
      await store.begin();
      await insert(store, "a");
      await store.rollback();
      await put(store, "b");
      expect(await names(store)).toEqual(["b"]);
    });

    test("may be rolled back where there is none", async () => {
      await store.rollback();
      await store.rollback();
      await put(store, "a");
      await store.rollback();
      expect(await names(store)).toEqual(["a"]);
    });

    test("is on the disk when it is committed: a store that is opened afterwards has it", async () => {
      await put(store, "a");
      await store.close();
      expect(await names(await place.open())).toEqual(["a"]);
    });

    test("reads what the last one has committed, though it has read before", async () => {
      const other = await place.open();
      await store.begin();
      const count = store.writer.prepare("SELECT count(*) AS n FROM settings");
      expect(await count.get()).toEqual({ n: 0 });
      await store.commit();
      await put(other, "a");
      await store.begin();
      expect(await count.get()).toEqual({ n: 1 });
      await store.commit();
    });
  });

  describe("a statement", () => {
    test("says how many rows it changed, and gives the first row or all", async () => {
      await store.begin();
      expect(await insert(store, "a", "1")).toBe(1);
      expect(await insert(store, "b", "1")).toBe(1);
      const { writer, reader } = store;
      expect(await writer.prepare("UPDATE settings SET value = ? WHERE value = ?").run("2", "1")).toBe(2);
      expect(await writer.prepare("UPDATE settings SET value = ? WHERE value = ?").run("2", "1")).toBe(0);
      expect(await writer.prepare("DELETE FROM settings WHERE name = ? RETURNING value").get("b")).toEqual({
        value: "2",
      });
      await store.commit();
      const select = reader.prepare("SELECT name, value FROM settings WHERE name = ?");
      expect(await select.get("a")).toEqual({ name: "a", value: "2" });
      expect(await select.all("a")).toEqual([{ name: "a", value: "2" }]);
      expect(await select.get("z")).toBeUndefined();
      expect(await select.all("z")).toEqual([]);
    });

    test("adds nothing where the row is there already and it says so", async () => {
      await put(store, "a", "1");
      await store.begin();
      const add = store.writer.prepare(
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
      );
      expect(await add.run("a", "2")).toBe(0);
      const set = store.writer.prepare(
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
      );
      expect(await set.run("a", "3")).toBe(1);
      await store.commit();
      expect(await store.reader.prepare("SELECT value FROM settings").all()).toEqual([{ value: "3" }]);
    });

    test.each<[string, Value]>([
      ["text", "Grüße, 世界 🎉 'quoted' \"twice\" \\n ? $1 %s ; --"],
      ["empty text", ""],
      ["long text", "x".repeat(2_000_000)],
    ])("keeps %s as it is", async (_, value) => {
      await put(store, "a", String(value));
      expect(await store.reader.prepare("SELECT value FROM settings WHERE value = ?").get(value)).toEqual({
        value,
      });
    });

    test.each([0, -1, 1, 2 ** 31, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER])(
      "keeps the number %d as a number",
      async (value) => {
        await store.begin();
        await store.writer.prepare("UPDATE counters SET value = ? WHERE name = 'tokens'").run(value);
        await store.commit();
        expect(await store.reader.prepare("SELECT value FROM counters WHERE value = ?").get(value)).toEqual({
          value,
        });
      },
    );

    test("keeps bytes, all of them, and null", async () => {
      const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
      await store.begin();
      await store.writer.prepare("INSERT INTO keys (name, value) VALUES (?, ?)").run("k", bytes);
      await store.writer
        .prepare("INSERT INTO keys (name, value) VALUES (?, ?)")
        .run("none", new Uint8Array(0));
      await store.writer
        .prepare("INSERT INTO events (id, at, kind, agent, ref) VALUES (?, ?, ?, ?, ?)")
        .run(1, 2, "kill", null, null);
      await store.commit();
      expect(await store.reader.prepare("SELECT value FROM keys ORDER BY name").all()).toEqual([
        { value: bytes },
        { value: new Uint8Array(0) },
      ]);
      expect(await store.reader.prepare("SELECT agent, ref FROM events").get()).toEqual({
        agent: null,
        ref: null,
      });
    });

    test("counts, sums and compares in numbers", async () => {
      await put(store, "a");
      expect(
        await store.reader
          .prepare(
            `SELECT count(*) AS n, sum(value) AS total, coalesce(max(value), 0) AS most,
               EXISTS (SELECT 1 FROM settings) AS yes, EXISTS (SELECT 1 FROM tokens) AS no FROM counters`,
          )
          .get(),
      ).toEqual({ n: 6, total: 0, most: 0, yes: 1, no: 0 });
    });

    test("takes no value for a question mark in quotes", async () => {
      await store.begin();
      await store.writer
        .prepare("INSERT INTO settings (name, value) VALUES ('it''s a ?', ?), (?, '?')")
        .run("first", "b");
      await store.commit();
      expect(await store.reader.prepare('SELECT value AS "what?" FROM settings ORDER BY name').all()).toEqual(
        [{ "what?": "?" }, { "what?": "first" }],
      );
    });

    test("orders text by code point, so that what begins alike is a range", async () => {
      for (const name of ["b", "B", "a-1", "a.1", "a1", "é", "A", "~"]) await put(store, name);
      expect(await names(store)).toEqual(["A", "B", "a-1", "a.1", "a1", "b", "~", "é"]);
    });

    test("of one connection may wait for others of it", async () => {
      await store.begin();
      const numbers = Array.from({ length: 50 }, (_, index) => String(index).padStart(2, "0"));
      await Promise.all(numbers.map((name) => insert(store, name)));
      await store.commit();
      expect(await names(store)).toEqual(numbers);
      const select = store.reader.prepare("SELECT name FROM settings WHERE name = ?");
      expect(await Promise.all(numbers.map((name) => select.get(name)))).toEqual(
        numbers.map((name) => ({ name })),
      );
    });
  });

  describe("a fault", () => {
    test("is a constraint where one row was refused; after the rollback the store works", async () => {
      await put(store, "a");
      for (const [sql, ...values] of [
        ["INSERT INTO settings (name, value) VALUES (?, ?)", "a", ""],
        ["INSERT INTO settings (name) VALUES (?)", "b"],
        ["UPDATE agents SET status = ? WHERE name = ?", "DEAD", "agent"],
      ] as const) {
        await store.begin();
        await store.writer
          .prepare("INSERT INTO agents (name, status, owner, created_at) VALUES ('agent', 'ACTIVE', '', 0)")
          .run();
        expect(await faultIn(store, store.writer.prepare(sql).run(...values)), sql).toBe("constraint");
        await store.rollback();
      }
      await put(store, "b");
      expect(await names(store)).toEqual(["a", "b"]);
      expect(await store.reader.prepare("SELECT name FROM agents").all()).toEqual([]);
    });

    test("is none of the store where the error is another", () => {
      for (const error of [
        new Error("x"),
        new TypeError("y"),
        "z",
        null,
        { code: "23505" },
        { errcode: 19 },
      ]) {
        expect(store.faultOf(error)).toBeNull();
      }
    });

    test("is told to whoever began, where another has the lock; and begins once it is free", async () => {
      const other = await place.open();
      await other.begin();
      await insert(other, "a");
      const start = performance.now();
      expect(await faultIn(store, store.begin())).toBe("busy");
      expect(performance.now() - start).toBeLessThan(1_000);
      await store.rollback();
      await other.commit();
      await put(store, "b");
      expect(await names(store)).toEqual(["a", "b"]);
    });
  });

  describe("several processes", () => {
    test("take turns: what one reads in its transaction holds until it is committed", async () => {
      const stores = await Promise.all([1, 2, 3].map(() => place.open()));
      const given = await Promise.all(
        [store, ...stores].map(async (one) => {
          const read = one.writer.prepare("SELECT value FROM counters WHERE name = 'tokens'");
          const write = one.writer.prepare("UPDATE counters SET value = ? WHERE name = 'tokens'");
          const mine: number[] = [];
          for (let round = 0; round < 25; round++) {
            await turn(one);
            const { value } = (await read.get()) as { value: number };
            await sleep(0);
            await write.run(value + 1);
            await one.commit();
            mine.push(value + 1);
          }
          return mine;
        }),
      );
      expect(given.flat().toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: 100 }, (_, index) => index + 1),
      );
    });

    test("give every number once, and none of a transaction that was rolled back is missing", async () => {
      const other = await place.open();
      const [ours, theirs] = [new Counters(store.writer), new Counters(other.writer)];
      await store.begin();
      expect([await ours.next("approvals"), await ours.next("approvals")]).toEqual([1, 2]);
      await store.commit();
      await other.begin();
      expect(await theirs.next("approvals")).toBe(3);
      await other.rollback();
      await store.begin();
      expect([await ours.next("approvals"), await ours.next("events")]).toEqual([3, 1]);
      await store.commit();
    });

    test("each see by the version that another has committed an event", async () => {
      const other = await place.open();
      const before = await store.version();
      expect(await store.version()).toBe(before);
      await other.begin();
      await new Counters(other.writer).next("events");
      expect(await store.version()).toBe(before);
      await other.commit();
      const after = await store.version();
      expect(after).not.toBe(before);
      expect(await store.version()).toBe(after);
    });

    test("hear of what was announced with the commit, if the database can tell, and not of what was rolled back", async () => {
      const other = await place.open();
      let heard = 0;
      store.onAnnounced(() => heard++);
      await other.begin();
      await other.announce();
      await other.rollback();
      await other.begin();
      await other.announce();
      await sleep(50);
      expect(heard).toBe(0);
      await other.commit();
      if (kind === "PostgreSQL") await waitFor(() => heard > 0, "the news");
      expect(heard).toBe(kind === "PostgreSQL" ? 1 : 0);
    });

    test("write as many transactions as they like through group commits of their own", async () => {
      const stores = [store, await place.open(), await place.open()];
      const commits = stores.map(
        (one) =>
          new GroupCommit(
            one,
            async () => ({ flush: async () => {} }),
            () => {},
            createLogger("silent"),
          ),
      );
      await Promise.all(
        commits.flatMap((commit, index) =>
          Array.from({ length: 40 }, async (_, round) => {
            const one = stores[index] ?? store;
            await commit.write(() => insert(one, `${index}-${round}`));
          }),
        ),
      );
      await Promise.all(commits.map((commit) => commit.close()));
      expect((await names(store)).length).toBe(120);
    });
  });

  test.each(["UPDATE ledger SET body = 'x'", "DELETE FROM ledger"])("refuses: %s", async (sql) => {
    await store.begin();
    await store.writer.prepare("INSERT INTO ledger (id, key, body, hash) VALUES (1, 'a', '{}', '')").run();
    await store.commit();
    await store.begin();
    expect(await faultIn(store, store.writer.prepare(sql).run())).not.toBe("none");
    await store.rollback();
    await expect(place.sql(sql)).rejects.toThrow("the ledger is append-only");
    expect(await store.reader.prepare("SELECT body FROM ledger").all()).toEqual([{ body: "{}" }]);
  });

  test("says what it is, and that nothing is wrong with it", () => {
    expect(store.description).toMatch(kind === "SQLite" ? /aegis\.db$/ : /^postgres:\/\/\/test_/);
    expect(store.problem()).toBeNull();
    expect(store.look).toBeGreaterThan(0);
  });
});
