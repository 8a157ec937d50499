import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { GroupCommit } from "../../src/backend/store/commit.js";
import type { Store } from "../../src/backend/store/store.js";
import { createLogger } from "../../src/log.js";
import { waitFor } from "../fixtures/backend/store.js";
import {
  database,
  faultIn,
  insert,
  names,
  open,
  proxy,
  put,
  refused,
  store,
} from "../fixtures/postgres/faulty.js";

/** Ends the server's side of the sessions of this purpose. */
async function terminate(purpose: string): Promise<void> {
  const ended = await database.sql(
    `SELECT pg_terminate_backend(pid, 1000) AS done FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = $1`,
    [`aegis ${purpose}`],
  );
  expect(ended.map(({ done }) => done)).toContain(1);
}

function grouped(over = store): GroupCommit<{ flush(): Promise<void> }> {
  return new GroupCommit(
    over,
    async () => ({ flush: async () => {} }),
    () => {},
    createLogger("silent"),
  );
}

describe("a connection that is lost", () => {
  test("between two transactions is not noticed by the second", async () => {
    await put("a");
    await terminate("writer");
    await sleep(20);
    await put("b");
    expect(await names()).toEqual(["a", "b"]);
  });

  test("in a transaction is a fault of the store; nothing of it is kept, and the next works", async () => {
    await store.begin();
    await insert("a");
    await terminate("writer");
    expect(await faultIn(insert("b"))).toBe("store");
    expect(await faultIn(store.commit())).toBe("store");
    await store.rollback();
    await put("c");
    expect(await names()).toEqual(["c"]);
  });

  test("under reads is a fault of the store at most once", async () => {
    const read = store.reader.prepare("SELECT name FROM settings");
    await Promise.all([read.all(), read.all(), read.all()]);
    await terminate("reader");
    await read.all().catch(() => {});
    expect(await read.all()).toEqual([]);
  });

  test("before the answer to a commit came is a fault of the store, though all of it may be there", async () => {
    await store.begin();
    await insert("a");
    proxy.loseAnswerTo("COMMIT");
    expect(await faultIn(store.commit())).toBe("store");
    await store.rollback();
    await waitFor(async () => (await names()).length === 1, "the commit");
    await store.begin();
    expect(await faultIn(insert("a"))).toBe("constraint");
    await store.rollback();
    await put("b");
  });

  test("to a server that is down: refused at once, and works again when it is back", async () => {
    proxy.down();
    expect(await refused(store.begin(), "store")).toBeLessThan(500);
    await store.rollback();
    expect(await refused(store.version(), "store")).toBeLessThan(500);
    proxy.resume();
    await put("a");
    expect(await store.version()).toBe(0);
  });
});

describe("a database that hangs", () => {
  test("refuses calls within 2 s, the first and the next, and works again when it goes on", async () => {
    const commit = grouped();
    await commit.write(() => insert("a"));
    proxy.hang();
    const start = performance.now();
    const calls = [0, 100, 1_000, 1_300].map(async (wait, index) => {
      await sleep(wait);
      const asked = performance.now();
      await expect(commit.write(() => insert(`hanging ${index}`))).rejects.toMatchObject({
        code: "backend_unavailable",
      });
      return performance.now() - asked;
    });
    for (const waited of await Promise.all(calls)) expect(waited).toBeLessThan(2_000);
    expect(performance.now() - start).toBeGreaterThan(1_000);
    proxy.resume();
    const back = performance.now();
    await waitFor(
      () =>
        commit
          .write(() => insert("b"))
          .then(
            () => true,
            () => false,
          ),
      "a write",
      5_000,
    );
    expect(performance.now() - back).toBeLessThan(5_000);
    await commit.close();
    expect(await names()).toEqual(["a", "b"]);
  });

  test("in a transaction: the statement is refused, and the lock is free once the server hears of it", async () => {
    await store.begin();
    await insert("a");
    proxy.hang();
    expect(await refused(insert("b"), "store")).toBeLessThan(1_500);
    await store.rollback();
    proxy.resume();
    const other = await open(database.url);
    await put("c", other);
    expect(await names()).toEqual(["c"]);
  });

  test("can be left: closing does not wait for it, nor for what was asked", async () => {
    await store.version();
    proxy.hang();
    const asked = faultIn(store.version());
    await sleep(20);
    const start = performance.now();
    await store.close();
    expect(performance.now() - start).toBeLessThan(2_500);
    expect(await asked).toBe("store");
    expect(performance.now() - start).toBeLessThan(2_500);
  });
});

describe("the lock", () => {
  test("that another holds is waited for a moment, then it is busy", async () => {
    const other = await open(database.url);
    await other.begin();
    const waited = await refused(store.begin(), "busy");
    expect(waited).toBeGreaterThan(300);
    expect(waited).toBeLessThan(900);
    await store.rollback();
    const waiting = store.begin();
    await sleep(100);
    await other.commit();
    await waiting;
    await store.commit();
  });

  test.each(["repeatable read", "serializable"])(
    "shows what its last holder has committed, though the database's default is %s",
    async (isolation) => {
      await database.sql(
        `ALTER DATABASE ${database.name} SET default_transaction_isolation = '${isolation}'`,
      );
      const [one, two] = [await open(database.url), await open(database.url)];
      await one.begin();
      const second = two.begin();
      await sleep(50);
      await insert("a", one);
      await one.commit();
      await second;
      expect(await two.writer.prepare("SELECT name FROM settings").all()).toEqual([{ name: "a" }]);
      await two.commit();
    },
  );
});

describe("serialization failures", () => {
  /** The first so many times this is asked inside of PostgreSQL it fails, whatever is rolled back in between. */
  async function failing(times: number): Promise<void> {
    await database.sql(`
      CREATE SEQUENCE failures;
      CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF nextval('aegis.failures') <= ${times} THEN
          RAISE EXCEPTION 'restart transaction' USING ERRCODE = '40001';
        END IF;
        RETURN NEW;
      END $$;
      GRANT ALL ON failures TO aegis_app;
    `);
  }

  async function writeThrough(): Promise<void> {
    const commit = grouped();
    let runs = 0;
    await commit.write(async () => {
      runs++;
      await insert("a");
    });
    await commit.close();
    expect(runs).toBe(4);
    expect(await names()).toEqual(["a"]);
  }

  test("of a statement are busy, and what was to be written is written once", async () => {
    await failing(3);
    await database.sql("CREATE TRIGGER fail BEFORE INSERT ON settings FOR EACH ROW EXECUTE FUNCTION fail()");
    await writeThrough();
  });

  test("of the commit are busy too", async () => {
    await failing(3);
    await database.sql(
      `CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON settings DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION fail()`,
    );
    await writeThrough();
  });
});

describe("a commit", () => {
  test("of a transaction in which something failed is a fault, though PostgreSQL answers it", async () => {
    await store.begin();
    await insert("a");
    await insert("a").catch(() => {});
    expect(await faultIn(store.commit())).toBe("store");
    await store.rollback();
    expect(await names()).toEqual([]);
  });

  test("waits for the disk, though the database is set not to", async () => {
    await database.sql(`ALTER DATABASE ${database.name} SET synchronous_commit = off`);
    const other = await open(database.url);
    await other.begin();
    expect(await other.writer.prepare("SHOW synchronous_commit").get()).toEqual({ synchronous_commit: "on" });
    await other.rollback();
  });
});

test("a value that no column can hold is refused as one row, not as a fault of the store", async () => {
  await store.begin();
  // PostgreSQL's text has none: said before it is asked, beside a transaction too.
  await expect(insert("a\0b")).rejects.toMatchObject({ code: "usage" });
  await store.rollback();
  await store.begin();
  expect(await faultIn(store.writer.prepare("UPDATE counters SET value = ?").run(1.5))).toBe("constraint");
  await store.rollback();
  await put("a");
});

test("what follows a refused row is refused with it, and the connection stays", async () => {
  const session = store.writer.prepare("SELECT pg_backend_pid() AS pid");
  await put("a");
  await store.begin();
  const before = await session.get();
  const faults = await Promise.all([faultIn(insert("a")), faultIn(insert("b")), faultIn(insert("c"))]);
  expect(faults).toEqual(["constraint", "constraint", "constraint"]);
  await store.rollback();
  await store.begin();
  expect(await session.get()).toEqual(before);
  await store.commit();
  expect(await names()).toEqual(["a"]);
});

test("what is asked beside transactions cannot write", async () => {
  const write = store.reader.prepare("INSERT INTO settings (name, value) VALUES ('a', '')");
  await expect(write.run()).rejects.toMatchObject({ code: "25006" });
  expect(await names()).toEqual([]);
});

test("a statement whose plan is of yesterday's tables heals by a new connection", async () => {
  const select = store.writer.prepare("SELECT * FROM settings");
  await store.begin();
  await select.all();
  await store.commit();
  await database.sql("ALTER TABLE settings ADD COLUMN more TEXT");
  await store.begin();
  expect(await faultIn(select.all())).toBe("store");
  await store.rollback();
  await store.begin();
  expect(await select.all()).toEqual([]);
  await store.commit();
  const reading = store.reader.prepare("SELECT * FROM settings");
  await reading.all();
  await database.sql("ALTER TABLE settings DROP COLUMN more");
  await reading.all().catch(() => {});
  expect(await reading.all()).toEqual([]);
});

describe("listening", () => {
  let other: Store;
  let heard: number;
  beforeEach(async () => {
    other = await open(database.url);
    heard = 0;
    store.onAnnounced(() => heard++);
  });

  async function announce(from: Store): Promise<void> {
    await from.begin();
    await from.announce();
    await from.commit();
  }

  test("hears others within a moment, and not itself", async () => {
    await announce(store);
    await announce(other);
    await waitFor(() => heard > 0, "the news", 200);
    await sleep(50);
    expect(heard).toBe(1);
  });

  test("that was cut is taken up again, and then looks: what was announced meanwhile is lost", async () => {
    await terminate("listener");
    await announce(other);
    await waitFor(() => heard > 0, "a look");
    const before = heard;
    await announce(other);
    await waitFor(() => heard > before, "the news");
  });

  test("goes on after the server was down for longer", async () => {
    proxy.down();
    await sleep(500);
    expect(heard).toBe(0);
    proxy.resume();
    await waitFor(() => heard > 0, "a look", 5_000);
    const before = heard;
    await announce(other);
    await waitFor(() => heard > before, "the news");
  });

  test("is left out where the URL says so: the database is looked at more often, and never asked to tell", async () => {
    const silent = await open(`${database.url}&aegis_listen=off`);
    expect(silent.look).toBeLessThan(store.look);
    let told = 0;
    silent.onAnnounced(() => told++);
    expect(
      await database.sql(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'aegis listener' AND datname = $1",
        [database.name],
      ),
    ).toEqual([{ n: 2 }]);
    await announce(silent);
    await announce(other);
    await waitFor(() => heard > 0, "the news");
    await sleep(50);
    expect([heard, told]).toEqual([1, 0]);
    const before = await silent.version();
    await other.begin();
    await other.writer.prepare("UPDATE counters SET value = value + 1 WHERE name = 'events'").run();
    await other.commit();
    expect(await silent.version()).not.toBe(before);
  });
});
