/** A home has one store; and what cannot be opened is said, and ends. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { environment, main, makePlace } from "../fixtures/gateway.js";
import { type Database, openDatabase, postgresAvailable } from "../fixtures/postgres.js";
import { endWithUs } from "../fixtures/process.js";
import { BackendProcess } from "../fixtures/remote.js";
import { fakeServer } from "../fixtures/servers.js";

describe.runIf(postgresAvailable)("the home of a backend on PostgreSQL", () => {
  const place = makePlace({ "all.yaml": 'agent: "*"\non_change: allow\nallow: ["*__echo"]\n' });
  const home = join(place.root, "postgres-home");
  let database: Database | undefined;
  let backend: BackendProcess | undefined;

  afterAll(async () => {
    await backend?.stop();
    await database?.stop();
    place.remove();
  });

  test("opens no store of its own beside it: commands say where to go, and work there", async () => {
    database = await openDatabase();
    mkdirSync(home, { mode: 0o700 });
    backend = await BackendProcess.start(place, { home, database: database.url });
    const create = ["token", "create", "--role", "agent", "--name", "laptop", "--agent", "bot"];
    for (const command of [create, ["kill", "bot"], ["status"], ["audit", "verify"]]) {
      const refused = await place.cli(command, { env: { AEGIS_HOME: home } });
      expect(refused).toMatchObject({ code: 1, stdout: "" });
      expect(refused.stderr).toMatch(/belongs to the backend on [\s\S]*AEGIS_BACKEND_URL/);
    }
    expect(existsSync(join(home, "aegis.db"))).toBe(false);
    const there = { AEGIS_HOME: home, AEGIS_BACKEND_URL: backend.url };
    expect(await place.cli(create, { env: there })).toMatchObject({ code: 0 });
    expect(await place.cli(["audit", "verify"], { env: there })).toMatchObject({ code: 0 });
    const verified = await place.cli(["audit", "verify", "--database", database.url], {
      env: { AEGIS_HOME: home },
    });
    expect(verified).toMatchObject({ code: 0 });
  });

  test("and that of a ledger in SQLite is not taken for one", async () => {
    expect(await place.cli(["token", "list"])).toMatchObject({ code: 0 });
    const refused = await place.cli(["backend", "--port", "0", "--database", database?.url ?? ""]);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain("holds a ledger of its own");
  });
});

describe("a backend that cannot be opened", () => {
  const place = makePlace();
  afterEach(() => chmodSync(place.home, 0o700));
  afterAll(() => place.remove());

  /** Ends by itself, though its standard input stays open. */
  const ends = async (args: readonly string[]): Promise<{ code: number | null; stderr: string }> => {
    const child = spawn(process.execPath, [main, ...args], {
      env: environment(place.home, {}),
      cwd: place.work,
      stdio: ["pipe", "ignore", "pipe"],
    });
    endWithUs(child);
    let stderr = "";
    child.stderr.on("data", (part: Buffer) => {
      stderr += part.toString();
    });
    const code = await new Promise<number | null>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`it hangs, having said: ${stderr}`)), 12_000);
      child.once("exit", (status) => {
        clearTimeout(late);
        resolve(status);
      });
    });
    return { code, stderr };
  };

  test.each([
    [
      "a database that is not there",
      ["backend", "--port", "0", "--database", "postgres://127.0.0.1:1/aegis"],
    ],
    ["a database of another kind", ["backend", "--port", "0", "--database", "mysql://127.0.0.1/aegis"]],
  ])("ends with the reason: %s", async (_, args) => {
    const { code, stderr } = await ends(args);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/^aegis: .+/);
  });

  test.skipIf(process.platform === "win32")("ends with the reason: a home that others can read", async () => {
    chmodSync(place.home, 0o755);
    for (const args of [
      ["backend", "--port", "0"],
      ["wrap", "--", ...fakeServer()],
    ]) {
      const { code, stderr } = await ends(args);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^aegis: .*mode 755/m);
    }
  });
});
