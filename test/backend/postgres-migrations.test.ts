import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { loadDriver } from "../../src/backend/store/driver.js";
import { migrate } from "../../src/backend/store/migrations.js";
import { openPostgres } from "../../src/backend/store/postgres.js";
import { postgresVersion } from "../../src/backend/store/postgres-migrations.js";
import type { Store } from "../../src/backend/store/store.js";
import { createLogger } from "../../src/log.js";
import { waitFor } from "../fixtures/backend/store.js";
import { type Cluster, startCluster } from "../fixtures/postgres/cluster.js";
import { type Database, databaseOn, openDatabase, postgresAvailable } from "../fixtures/postgres.js";

let database: Database;
const stores: Store[] = [];

async function open(url = database.url): Promise<Store> {
  const store = await openPostgres(url, { log: createLogger("silent") });
  stores.push(store);
  return store;
}

async function closeAll(): Promise<void> {
  await Promise.all(stores.splice(0).map((store) => store.close()));
}

async function put(store: Store, key: string): Promise<void> {
  await store.begin();
  await store.writer.prepare("INSERT INTO ledger (id, key, body, hash) VALUES (1, ?, '{}', '')").run(key);
  await store.commit();
}

async function outcome(store: Store, sql: string): Promise<unknown> {
  await store.begin();
  const said = await store.writer
    .prepare(sql)
    .run()
    .catch((thrown: unknown) => (thrown as { code: string }).code);
  await store.rollback();
  return said;
}

const changes = [
  "UPDATE ledger SET body = 'x'",
  "DELETE FROM ledger",
  "TRUNCATE ledger",
  "INSERT INTO ledger (id, body, hash) VALUES (1, '', '') ON CONFLICT (id) DO UPDATE SET body = 'x'",
];

describe.skipIf(!postgresAvailable)("the schema in PostgreSQL", () => {
  beforeEach(async () => {
    database = await openDatabase();
  });
  afterEach(async () => {
    await closeAll();
    await database.stop();
  });

  test("has the tables, columns and indexes of the one in SQLite", async () => {
    await open();
    const columns = await database.sql(
      `SELECT t.relname AS "table", a.attname AS name, format_type(a.atttypid, NULL) AS type, a.attnotnull AS "notNull",
         coalesce(a.attnum = ANY (k.conkey), false) AS key
       FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0
       LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
       WHERE t.relnamespace = 'aegis'::regnamespace AND t.relkind = 'r' AND t.relname NOT IN ('locks', 'schema_version')`,
    );
    const indexes = await database.sql(
      `SELECT c.relname AS name, i.indisunique AS "unique", i.indpred IS NOT NULL AS partial
       FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
       WHERE c.relnamespace = 'aegis'::regnamespace AND c.relname !~ '_(pkey|key1?)$' OR c.relname = 'ledger_key'`,
    );

    const folder = mkdtempSync(join(tmpdir(), "aegis-schema-"));
    const sqlite = (await loadDriver()).open(join(folder, "aegis.db"));
    migrate(sqlite, "aegis.db");
    const types: Record<string, string> = { INTEGER: "bigint", TEXT: "text", BLOB: "bytea" };
    const all = sqlite
      .prepare(
        `SELECT t.name AS "table", c.name AS name, c.type AS type, c."notnull" AS required, c.pk AS pk
         FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'`,
      )
      .all() as Array<{ table: string; name: string; type: string; required: number; pk: number }>;
    const expected = all.map(({ table, name, type, required, pk }) => ({
      table,
      name,
      type: types[type],
      notNull: Number(required === 1 || pk > 0),
      key: Number(pk > 0),
    }));
    const expectedIndexes = sqlite
      .prepare(
        `SELECT i.name AS name, i."unique" AS uniq, i.partial AS partial
         FROM sqlite_master t, pragma_index_list(t.name) i WHERE t.type = 'table' AND i.origin = 'c'`,
      )
      .all() as Array<{ name: string; uniq: number; partial: number }>;
    sqlite.close();
    rmSync(folder, { recursive: true });

    const sorted = <T extends { name?: unknown; table?: unknown }>(rows: T[]): T[] =>
      rows.toSorted((a, b) =>
        `${String(a.table)}.${String(a.name)}` < `${String(b.table)}.${String(b.name)}` ? -1 : 1,
      );
    expect(sorted(columns)).toEqual(sorted(expected));
    const same = expectedIndexes.map(({ name, uniq, partial }) => ({
      name,
      unique: uniq,
      partial,
    }));
    expect(sorted(indexes)).toEqual(sorted(same));
  });

  test("compares text by code point, whatever the locale of the database", async () => {
    await open();
    const others = await database.sql(
      `SELECT attrelid::regclass || '.' || attname AS name FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
       WHERE relnamespace = 'aegis'::regnamespace AND relkind = 'r' AND attcollation NOT IN (0, '"C"'::regcollation)`,
    );
    expect(others).toEqual([]);
  });

  test("is made once by many starts at the same time, and kept by the next", async () => {
    const starts = await Promise.all(Array.from({ length: 12 }, () => open()));
    expect(await database.sql("SELECT version FROM aegis.schema_version")).toEqual([
      { version: postgresVersion },
    ]);
    const [first] = starts;
    if (first === undefined) throw new Error("no store");
    await put(first, "a");
    await closeAll();
    const again = await open();
    expect(await again.reader.prepare("SELECT id FROM ledger").all()).toEqual([{ id: 1 }]);
    expect(await again.reader.prepare("SELECT count(*) AS n FROM counters").get()).toEqual({ n: 6 });
  });

  test("waits for a start that migrates, and does not do it a second time", async () => {
    await open();
    await closeAll();
    await database.sql("UPDATE aegis.schema_version SET version = 0");
    await database.sql("BEGIN; SELECT FROM aegis.schema_version FOR UPDATE");
    const second = open();
    await waitFor(async () => {
      // Inside of one transaction it is looked at once.
      await database.sql("SELECT pg_stat_clear_snapshot()");
      const waiting =
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
      return (await database.sql(waiting)).length === 1;
    }, "the second start");
    await database.sql("UPDATE aegis.schema_version SET version = $1", [postgresVersion]);
    await database.sql("COMMIT");
    await expect(second).resolves.toBeDefined();
  });

  test("of a newer program is refused, and left alone", async () => {
    await open();
    await closeAll();
    await database.sql("UPDATE aegis.schema_version SET version = $1", [postgresVersion + 1]);
    await expect(open()).rejects.toMatchObject({
      code: "store_newer",
      message: expect.stringContaining(`of version ${postgresVersion + 1}`),
    });
    await database.sql("UPDATE aegis.schema_version SET version = $1", [postgresVersion]);
    await expect(open()).resolves.toBeDefined();
  });

  test("stands in a schema of its own: a table of another program with the same name is not touched", async () => {
    await database.sql("CREATE TABLE public.ledger (own text); GRANT ALL ON public.ledger TO PUBLIC");
    const store = await open();
    await put(store, "a");
    expect(await database.sql("SELECT * FROM public.ledger")).toEqual([]);
    await database.sql("DROP TABLE public.ledger");
  });

  test("no temporary table can stand before one of ours", async () => {
    const store = await open();
    await store.begin();
    await store.writer.prepare("CREATE TEMPORARY TABLE settings (name TEXT, value TEXT)").run();
    await store.writer.prepare("INSERT INTO settings (name, value) VALUES ('a', 'b')").run();
    await store.commit();
    expect(await database.sql("SELECT * FROM aegis.settings")).toHaveLength(1);
  });
});

describe.skipIf(!postgresAvailable)("the ledger in PostgreSQL", () => {
  beforeEach(async () => {
    database = await openDatabase();
  });
  afterEach(async () => {
    await closeAll();
    await database.stop();
  });

  test.each(changes)(
    "cannot be changed by the program, though its login owns the tables: %s",
    async (sql) => {
      const store = await open();
      await put(store, "a");
      expect(await outcome(store, sql)).toBe("42501");
      expect(await outcome(store, "INSERT INTO ledger (id, body, hash) VALUES (2, '{}', '')")).toBe(1);
      await expect(store.reader.prepare(sql).run()).rejects.toMatchObject({ name: "PostgresFault" });
      expect(await store.reader.prepare("SELECT body FROM ledger").all()).toEqual([{ body: "{}" }]);
    },
  );

  test("cannot be made changeable by the program", async () => {
    const store = await open();
    for (const sql of [
      "ALTER TABLE ledger DISABLE TRIGGER ALL",
      "DROP TRIGGER ledger_change ON ledger",
      "DROP TABLE ledger",
      "UPDATE schema_version SET version = 99",
    ]) {
      expect(await outcome(store, sql), sql).toBe("42501");
    }
  });

  test.each(changes)("cannot be changed by a superuser either: %s", async (sql) => {
    await put(await open(), "a");
    await database.sql("SET search_path = aegis");
    for (const role of ["origin", "replica"]) {
      await database.sql(`SET session_replication_role = ${role}`);
      await expect(database.sql(sql), role).rejects.toMatchObject({ code: "23000" });
    }
  });

  test("is written by a login that owns nothing and is a member of the role, and not changed by it", async () => {
    await open();
    const url = await database.urlOf("aegis_member");
    await database.sql("GRANT aegis_app TO aegis_member");
    const store = await open(url);
    await put(store, "a");
    for (const sql of changes) expect(await outcome(store, sql), sql).toBe("42501");
    expect(await store.version()).toBe(0);
  });

  test("is not opened by a login without rights, which is told what is missing", async () => {
    await open();
    const url = await database.urlOf("aegis_stranger");
    await expect(open(url)).rejects.toMatchObject({
      code: "backend_unavailable",
      message: expect.stringContaining("aegis_stranger has no rights"),
      hint: expect.stringContaining('GRANT aegis_app TO "aegis_stranger"'),
    });
  });

  test("a member of the role that comes first, or after an older program, is told who has to come", async () => {
    const url = await database.urlOf("aegis_early");
    const refused = { code: "backend_unavailable", hint: expect.stringContaining("owner") };
    await expect(open(url)).rejects.toMatchObject({
      ...refused,
      message: expect.stringContaining("has no schema aegis"),
    });
    await open();
    await closeAll();
    await database.sql("GRANT aegis_app TO aegis_early");
    await database.sql("UPDATE aegis.schema_version SET version = 0");
    await expect(open(url)).rejects.toMatchObject({
      ...refused,
      message: expect.stringContaining("is older than this program"),
    });
    await database.sql("UPDATE aegis.schema_version SET version = $1", [postgresVersion]);
    await expect(open(url)).resolves.toBeDefined();
  });
});

describe.skipIf(!postgresAvailable)("the role of the program, in a cluster that has none", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster.stop());
  afterEach(closeAll);

  test("is made once for all of its databases, by starts at the same time", async () => {
    const databases = await Promise.all([1, 2, 3].map(() => databaseOn(cluster.host)));
    const starts = await Promise.all(databases.flatMap(({ url }) => [open(url), open(url)]));
    for (const store of starts) {
      expect(await store.reader.prepare("SELECT current_user AS name").get()).toEqual({ name: "aegis_app" });
      expect(await outcome(store, "SELECT current_user")).toBe(1);
      expect(await outcome(store, "DELETE FROM ledger")).toBe("42501");
    }
    await closeAll();
    for (const one of databases) await one.sql("DROP SCHEMA aegis CASCADE");
    const [any] = databases;
    await any?.sql("DROP ROLE aegis_app");
    await Promise.all(databases.map((one) => one.stop()));
  });

  test("where the login may not make it: the trigger keeps the ledger, and the role is used once it is there", async () => {
    database = await databaseOn(cluster.host);
    await database.sql("ALTER ROLE aegis_owner NOCREATEROLE");
    const store = await open();
    expect(await store.reader.prepare("SELECT current_user AS name").get()).toEqual({ name: "aegis_owner" });
    await put(store, "a");
    for (const sql of changes) expect(await outcome(store, sql), sql).toBe("23000");
    await closeAll();
    await database.sql("CREATE ROLE aegis_app NOLOGIN; GRANT aegis_app TO aegis_owner");
    const later = await open();
    expect(await later.reader.prepare("SELECT current_user AS name").get()).toEqual({ name: "aegis_app" });
    for (const sql of changes) expect(await outcome(later, sql), sql).toBe("42501");
    await closeAll();
    await database.stop();
  });
});

test.skipIf(!postgresAvailable)("a database of another encoding than UTF-8 is refused", async () => {
  database = await openDatabase();
  await database.sql("CREATE DATABASE test_ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'");
  await expect(open(database.url.replace(database.name, "test_ascii"))).rejects.toMatchObject({
    code: "backend_unavailable",
    message: expect.stringContaining("encoding SQL_ASCII"),
  });
  await database.stop();
});
