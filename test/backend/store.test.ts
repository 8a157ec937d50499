import { chmodSync, mkdirSync, renameSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadDriver, newEnough } from "../../src/backend/store/driver.js";
import { storeVersion } from "../../src/backend/store/migrations.js";
import { AegisError } from "../../src/errors.js";
import { intent, makeHome, open, rawStore, waitFor } from "../fixtures/backend/store.js";

let place: ReturnType<typeof makeHome>;
beforeEach(() => {
  place = makeHome();
});
afterEach(() => place.remove());

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

describe.skipIf(process.platform === "win32")("AEGIS_HOME", () => {
  test("is made for its user alone, whatever the umask", async () => {
    const before = process.umask(0);
    const backend = await open(place);
    process.umask(before);
    await backend.ensureAgent("other");
    expect(modeOf(place.home)).toBe(0o700);
    for (const name of ["aegis.db", "aegis.db-wal", "aegis.db-shm"])
      expect(modeOf(join(place.home, name))).toBe(0o600);
    await backend.close();
  });

  test.each([0o750, 0o705, 0o777])("that others can reach (%s) is refused", async (mode) => {
    mkdirSync(place.home);
    chmodSync(place.home, mode);
    await expect(open(place)).rejects.toMatchObject({
      code: "home_insecure",
      hint: `Run: chmod 700 '${place.home}'`,
    });
  });

  test("with a store that others can read, or that is a link, is refused", async () => {
    mkdirSync(place.home, { mode: 0o700 });
    writeFileSync(join(place.home, "aegis.db"), "");
    chmodSync(join(place.home, "aegis.db"), 0o644);
    await expect(open(place)).rejects.toMatchObject({ code: "home_insecure" });
    const other = makeHome();
    mkdirSync(other.home, { mode: 0o700 });
    symlinkSync(join(place.home, "aegis.db"), join(other.home, "aegis.db"));
    await expect(open(other)).rejects.toMatchObject({ code: "home_insecure" });
    other.remove();
  });

  test("that is a file is refused", async () => {
    writeFileSync(place.home, "");
    await expect(open(place)).rejects.toThrow();
  });
});

describe("the store", () => {
  test("finds who refers to a definition without reading every tool and approval", async () => {
    await (await open(place)).close();
    const store = await rawStore(place.home);
    try {
      for (const [table, column] of [
        ["tools", "pinned"],
        ["tools", "seen"],
        ["approvals", "definition"],
      ]) {
        const plan = store.prepare(`EXPLAIN QUERY PLAN SELECT 1 FROM ${table} WHERE ${column} = ?`).all("x");
        expect(JSON.stringify(plan), `${table}.${column}`).toContain(`${table}_${column}`);
      }
      const either = "EXPLAIN QUERY PLAN SELECT 1 FROM tools WHERE pinned = ? OR seen = ?";
      expect(JSON.stringify(store.prepare(either).all("x", "x"))).not.toContain("SCAN");
    } finally {
      store.close();
    }
  });

  test("of a newer version is refused, and left as it is", async () => {
    await (await open(place)).close();
    const store = await rawStore(place.home);
    store.exec(`PRAGMA user_version = ${storeVersion + 1}`);
    await expect(open(place)).rejects.toMatchObject({ code: "store_newer" });
    expect(store.prepare("PRAGMA user_version").get()).toMatchObject({ user_version: storeVersion + 1 });
    store.close();
  });

  test("that is not one is said to be damaged", async () => {
    mkdirSync(place.home, { mode: 0o700 });
    writeFileSync(join(place.home, "aegis.db"), "not a database, by far not one ".repeat(200), {
      mode: 0o600,
    });
    await expect(open(place)).rejects.toMatchObject({ code: "store_corrupt" });
  });

  test("is opened by several at once, also when it is new", async () => {
    const backends = await Promise.all(Array.from({ length: 5 }, () => open(place)));
    expect((await backends[0]?.agents())?.length).toBe(1);
    for (const backend of backends) await backend.close();
  });

  test("that is moved away while it is open refuses every call, until it is put back", async () => {
    const backend = await open(place);
    const gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
    const decide = (): Promise<string> =>
      backend.decide(intent(gateway)).then(
        ({ decision }) => decision,
        (thrown: unknown) => (thrown instanceof AegisError ? thrown.code : String(thrown)),
      );
    const [path, away] = [join(place.home, "aegis.db"), join(place.home, "away")];
    renameSync(path, away);
    await waitFor(async () => (await decide()) === "backend_unavailable", "a refusal", 1_000);
    writeFileSync(path, "", { mode: 0o600 });
    await waitFor(async () => (await decide()) === "backend_unavailable", "a refusal", 1_000);
    renameSync(away, path);
    await waitFor(async () => (await decide()) === "ALLOW", "an ALLOW", 5_000);
    await backend.close();
  });

  test("writes in WAL mode", async () => {
    const backend = await open(place);
    const store = await rawStore(place.home);
    expect(store.prepare("PRAGMA journal_mode").get()).toMatchObject({ journal_mode: "wal" });
    store.close();
    await backend.close();
  });
});

test("SQLite is new enough, and loads without a warning", async () => {
  const warnings: unknown[] = [];
  const listener = (warning: Error): void => {
    warnings.push(warning.message);
  };
  process.on("warning", listener);
  const driver = await loadDriver();
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", listener);
  const connection = driver.open(":memory:");
  const { version } = connection.prepare("SELECT sqlite_version() AS version").get() as { version: string };
  connection.close();
  expect(newEnough(version)).toBe(true);
  expect(warnings).toEqual([]);
});

test.each([
  ["3.51.3", true],
  ["3.51.10", true],
  ["3.53.0", true],
  ["4.0", true],
  ["3.51.2", false],
  ["3.50.9", false],
  ["3.9.0", false],
  [undefined, false],
])("SQLite %s is new enough: %s", (version, expected) => {
  expect(newEnough(version)).toBe(expected);
});
