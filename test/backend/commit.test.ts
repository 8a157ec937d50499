import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { GroupCommit } from "../../src/backend/store/commit.js";
import { loadDriver, type SqliteDatabase } from "../../src/backend/store/driver.js";
import { openSqlite } from "../../src/backend/store/sqlite.js";
import type { Store } from "../../src/backend/store/store.js";
import { createLogger } from "../../src/log.js";

/** What the units of one transaction write together. */
class Rows {
  private rows: number[] = [];
  constructor(
    private readonly store: Store,
    readonly careful: boolean,
  ) {}

  add(row: number): void {
    this.rows.push(row);
  }

  async flush(): Promise<void> {
    const insert = this.store.writer.prepare("INSERT INTO t VALUES (?, ?)");
    for (const row of this.rows.splice(0)) await insert.run(row, "x".repeat(1_000));
  }
}

let folder: string;
let store: Store;
let other: SqliteDatabase;
let commit: GroupCommit<Rows>;
let commits: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "aegis-commit-"));
  const driver = await loadDriver();
  store = await openSqlite(join(folder, "t.db"));
  other = driver.open(join(folder, "t.db"));
  other.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, text)");
  commits = 0;
  commit = new GroupCommit(
    store,
    async (careful) => new Rows(store, careful),
    () => commits++,
    createLogger("silent"),
  );
});
afterEach(async () => {
  await commit.close();
  await store.close();
  other.close();
  rmSync(folder, { recursive: true });
});

function stored(): number[] {
  return (other.prepare("SELECT id FROM t ORDER BY id").all() as Array<{ id: number }>).map(({ id }) => id);
}

describe("writes of one turn", () => {
  test("share one transaction, and are durable when they resolve", async () => {
    const seen = await Promise.all(
      [1, 2, 3].map(async (row) => {
        await commit.write((rows) => rows.add(row));
        return stored();
      }),
    );
    expect(commits).toBe(1);
    expect(seen).toEqual([
      [1, 2, 3],
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  test("stand or fall one by one: a unit that throws is rolled back alone", async () => {
    const runs: number[] = [];
    const results = await Promise.allSettled(
      [1, 2, 3, 4].map((row) =>
        commit.write((rows) => {
          runs.push(row);
          rows.add(row);
          if (row === 2) throw new Error("two");
          return row * 10;
        }),
      ),
    );
    expect(
      results.map((result) => (result.status === "fulfilled" ? result.value : String(result.reason))),
    ).toEqual([10, "Error: two", 30, 40]);
    expect(stored()).toEqual([1, 3, 4]);
    expect(runs).toEqual([1, 2, 1, 3, 4]);
  });

  test("of which two break a constraint together lose only the second", async () => {
    const careful: boolean[] = [];
    const results = await Promise.allSettled(
      [1, 2, 2, 3].map((row) =>
        commit.write((rows) => {
          careful.push(rows.careful);
          rows.add(row);
        }),
      ),
    );
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    expect(stored()).toEqual([1, 2, 3]);
    expect(careful.slice(0, 4)).toEqual([false, false, false, false]);
    expect(careful[4]).toBe(true);
  });

  test("harm nobody who writes after them: a unit that meets the broken row of another is written", async () => {
    const results = await Promise.allSettled([
      commit.write((rows) => rows.add(1)),
      commit.write((rows) => rows.add(1)),
      commit.write(async (rows) => {
        await rows.flush();
        rows.add(2);
      }),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(stored()).toEqual([1, 2]);
  });

  test("of which one breaks a constraint by itself lose that one", async () => {
    const insert = store.writer.prepare("INSERT INTO t VALUES (?, '')");
    const results = await Promise.allSettled([
      commit.write((rows) => rows.add(1)),
      commit.write(async () => {
        for (const row of [2, 2]) await insert.run(row);
      }),
      commit.write((rows) => rows.add(3)),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(stored()).toEqual([1, 3]);
  });

  test("of whatever number are all written", async () => {
    await Promise.all(Array.from({ length: 2_000 }, (_, row) => commit.write((rows) => rows.add(row))));
    expect(stored().length).toBe(2_000);
    expect(commits).toBeLessThan(10);
  });
});

describe("a lock that another connection holds", () => {
  test("is waited for, without holding up the event loop", async () => {
    other.exec("BEGIN IMMEDIATE");
    let turns = 0;
    const ticking = setInterval(() => turns++, 5);
    setTimeout(() => other.exec("ROLLBACK"), 300);
    await commit.write((rows) => rows.add(1));
    clearInterval(ticking);
    expect(stored()).toEqual([1]);
    expect(turns).toBeGreaterThan(20);
  });

  test("refuses after 2 s, keeps what nobody waits for, and works again afterwards", async () => {
    other.exec("BEGIN IMMEDIATE");
    const start = performance.now();
    commit.later((rows) => rows.add(7));
    await expect(commit.write((rows) => rows.add(1))).rejects.toMatchObject({ code: "backend_unavailable" });
    expect(performance.now() - start).toBeGreaterThan(1_900);
    expect(performance.now() - start).toBeLessThan(2_500);
    other.exec("ROLLBACK");
    await commit.write((rows) => rows.add(2));
    expect(stored()).toEqual([2, 7]);
  });
});

test("a disk that is full refuses everything of the turn, and works again once there is room", async () => {
  await store.writer.prepare("PRAGMA max_page_count = 10").get();
  const results = await Promise.allSettled(
    Array.from({ length: 50 }, (_, row) => commit.write((rows) => rows.add(row))),
  );
  for (const result of results) {
    expect(result).toMatchObject({ status: "rejected", reason: { code: "backend_unavailable" } });
  }
  commit.later((rows) => rows.add(1_000));
  expect(stored()).toEqual([]);
  await store.writer.prepare("PRAGMA max_page_count = 100000").get();
  await commit.write((rows) => rows.add(51));
  expect(stored()).toEqual([51, 1_000]);
});

describe("a write that nobody waits for", () => {
  test("rides with the next one", async () => {
    commit.later((rows) => rows.add(1));
    expect(commits).toBe(0);
    await commit.write((rows) => rows.add(2));
    expect([commits, stored()]).toEqual([1, [1, 2]]);
  });

  test("goes alone after a moment", async () => {
    commit.later((rows) => rows.add(1));
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect([commits, stored()]).toEqual([1, [1]]);
  });

  test("that throws harms no other", async () => {
    commit.later(() => {
      throw new Error("lost");
    });
    await commit.write((rows) => rows.add(2));
    expect(stored()).toEqual([2]);
  });

  test("is written at the close, after which nothing is", async () => {
    commit.later((rows) => rows.add(1));
    await commit.close();
    expect(stored()).toEqual([1]);
    await expect(commit.write((rows) => rows.add(2))).rejects.toMatchObject({ code: "backend_unavailable" });
  });
});
