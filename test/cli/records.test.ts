import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import { loadDriver } from "../../src/backend/store/driver.js";
import { createLogger } from "../../src/log.js";
import { parsePolicy, policySet } from "../../src/policy/file/load.js";
import { intent } from "../fixtures/backend/store.js";
import { type Finished, jsonLines, makePlace, type Place } from "../fixtures/gateway.js";

let place: Place;
beforeAll(() => {
  place = makePlace();
});
afterAll(() => place.remove());

const run = (...args: string[]): Promise<Finished> => place.cli(args);

describe("policy check", () => {
  it("names file, line and column of every error and exits with 1", async () => {
    const good = join(place.policies, "good.yaml");
    const bad = join(place.policies, "bad.yaml");
    writeFileSync(good, "agent: a\ndefault: block\nallow: [files__read]\n");
    writeFileSync(bad, "agent: a\nalow: [x]\ndefault: maybe\n");
    const { code, stderr, stdout } = await run("policy", "check", place.policies);
    expect(code).toBe(1);
    expect(stderr).toContain(`${bad}:2:1: `);
    expect(stderr).toContain(`${bad}:3:10: `);
    expect(stdout).not.toContain("No errors");

    const mixed = await run("policy", "check", good, bad, join(place.root, "none.yaml"), "--json");
    expect(mixed.code).toBe(1);
    expect(JSON.parse(mixed.stdout)).toEqual({
      ok: false,
      files: [{ file: good, agent: "a", rules: 1, limits: 0, servers: 0, data: 0, default: "block" }],
      warnings: [],
      unchecked: expect.any(Array),
      errors: [
        expect.stringContaining(`${bad}:2:1: `),
        expect.stringContaining(`${bad}:3:10: `),
        `${join(place.root, "none.yaml")}: it does not exist`,
      ],
    });
  });

  it("says what it read where there is no error", async () => {
    expect(await run("policy", "check", join(place.policies, "good.yaml"))).toMatchObject({
      code: 0,
      stderr: "",
      stdout: expect.stringMatching(
        /good\.yaml: agent a, 1 rule, default block\n[\s\S]*No errors in 1 file\.\n$/,
      ),
    });
  });

  it("finds a folder without policies wrong: it was probably another that was meant", async () => {
    mkdirSync(join(place.root, "empty"));
    expect(await run("policy", "check", join(place.root, "empty"))).toMatchObject({ code: 1 });
  });
});

describe("policy explain", () => {
  it("exits with 0 whatever the verdict, and says which rule decided", async () => {
    const folder = join(place.root, "explained");
    mkdirSync(folder);
    writeFileSync(
      join(folder, "a.yaml"),
      'agent: "a*"\ndefault: block\nallow: [files__read, files__*]\nblock: ["*__delete"]\n',
    );
    const explain = (action: string, ...more: string[]): Promise<Finished> =>
      run("policy", "explain", "--agent", "abc", "--action", action, "--policies", folder, ...more);
    expect(await explain("files__read", "--args", '{"path":1}')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^ALLOW {2}files__read by agent abc\n[\s\S]*decided +a.yaml:3 allow files__read/,
      ),
    });
    const blocked = await explain("files__delete", "--json");
    expect(blocked.code).toBe(0);
    expect(JSON.parse(blocked.stdout)).toMatchObject({
      agent: "abc",
      action: "files__delete",
      decision: "BLOCK",
      rule: "a.yaml:4 block *__delete",
      files: [{ applies: true }],
      rules: expect.arrayContaining([
        expect.objectContaining({ rule: "a.yaml:3 allow files__*", matched: true, won: false }),
      ]),
    });
    expect((await explain("other__thing")).stdout).toMatch(/^BLOCK/);
  });

  it("reviews everything where there is no policy", async () => {
    const { code, stdout } = await run("policy", "explain", "--agent", "x", "--action", "a__b");
    expect({ code, verdict: stdout.slice(0, 6) }).toEqual({ code: 0, verdict: "REVIEW" });
  });
});

describe("tokens", () => {
  it("are shown once, listed without their secret, and revoked", async () => {
    const made = await run(
      "token",
      "create",
      "--role",
      "agent",
      "--name",
      "n",
      "--agent",
      "bot",
      "--expires",
      "1h",
      "--json",
    );
    const { id, token } = JSON.parse(made.stdout) as { id: number; token: string };
    expect(token.length).toBeGreaterThan(40);
    expect(
      (await run("token", "create", "--role", "approver", "--name", "p", "--group", "g1", "g2")).stdout,
    ).toMatch(/^id +\d+\ntoken +\S+\n$/);
    const list = await run("token", "list", "--json");
    expect(list.stdout).not.toContain(token);
    expect(jsonLines(list.stdout)).toEqual([
      expect.objectContaining({
        id,
        name: "n",
        role: "agent",
        agent: "bot",
        revoked_at: null,
        expires_at: expect.any(String),
      }),
      expect.objectContaining({ role: "approver", agent: null, groups: ["g1", "g2"], expires_at: null }),
    ]);
    expect(await run("token", "revoke", String(id))).toMatchObject({ code: 0 });
    expect((await run("token", "list")).stdout).toMatch(/revoked/);
    expect(await run("token", "revoke", "999")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("999"),
    });
  });
});

it("log says what rules for data found", async () => {
  const text = "agent: bot\nallow: ['*']\ndata: [{ detect: secrets, then: redact }]\n";
  const backend = await openBackend({
    home: place.home,
    policies: policySet([parsePolicy(text, "bot.yaml", { bareNames: false })]),
    holdExpires: 60_000,
    log: createLogger("silent"),
  });
  await backend.ensureAgent("bot");
  const gateway = await backend.attach({ pid: process.pid, label: "test", address: null });
  await backend.decide(intent(gateway, "read", `{"q":"ghp_${"a".repeat(30)}"}`, { agent: "bot" }));
  await backend.close();
  expect((await run("log", "bot")).stdout).toMatch(/decision .*\[secrets in arguments: redacted\]/);
});

describe("doctor", () => {
  it("says what is protected and exits with 0 where nothing is broken", async () => {
    const json = await run("doctor", "--json");
    expect(json.code).toBe(0);
    const report = JSON.parse(json.stdout) as {
      ok: boolean;
      checks: Array<{ name: string; state: string; message: string }>;
    };
    expect(report.ok).toBe(true);
    const of = (name: string): string | undefined =>
      report.checks.find((check) => check.name === name)?.message;
    expect(of("sqlite")).toMatch(/^SQLite 3\.\d+\.\d+ of (node:sqlite|@photostructure\/sqlite)$/);
    expect(of("home")).toContain(place.home);
    expect(of("ledger")).toContain("every link holds");
    expect(of("boundary")).toContain("a backend under another user or on another machine");
    expect((await run("doctor")).stdout).toContain("ok       sqlite");
  });

  it("finds a wrong configuration, a server that reaches AEGIS_HOME, and wrong policies, all at once", async () => {
    const config = place.writeConfig({ servers: { files: { command: "node", args: [place.root] } } });
    const { code, stdout } = await run("doctor", "--config", config, "--policies", place.policies);
    expect(code).toBe(1);
    expect(stdout).toMatch(/broken +reach +The server files is given the argument/);
    expect(stdout).toMatch(/broken +policies .*bad\.yaml:2:1/);
    expect(await run("doctor", "--config", join(place.root, "none.yaml"))).toMatchObject({
      code: 1,
      stdout: expect.stringContaining("it does not exist"),
    });
  });

  it.skipIf(process.platform === "win32")("finds policies that others can write", async () => {
    const folder = join(place.root, "open");
    mkdirSync(folder);
    writeFileSync(join(folder, "a.yaml"), "agent: a\n");
    const looked = (): Promise<Finished> => run("doctor", "--policies", folder);
    expect((await looked()).stdout).not.toContain("will be refused");
    chmodSync(join(folder, "a.yaml"), 0o666);
    const { code, stdout } = await looked();
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /warning +policies +changes will be refused[\s\S]*a\.yaml can be written by others/,
    );
    chmodSync(join(folder, "a.yaml"), 0o600);
    chmodSync(folder, 0o777);
    expect((await looked()).stdout).toMatch(/open can be written by others/);
  });

  it.skipIf(process.platform === "win32")("finds an AEGIS_HOME that others can read", async () => {
    chmodSync(place.home, 0o755);
    expect(await run("doctor")).toMatchObject({ code: 1, stdout: expect.stringContaining("chmod 700") });
    expect(await run("status")).toMatchObject({ code: 1, stderr: expect.stringContaining("chmod 700") });
    chmodSync(place.home, 0o700);
  });
});

it("audit verify and doctor name the record that was changed, and exit with 1", async () => {
  const driver = await loadDriver();
  const store = driver.open(join(place.home, "aegis.db"));
  const triggers = store
    .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'ledger'")
    .all();
  for (const { name } of triggers as Array<{ name: string }>) store.exec(`DROP TRIGGER "${name}"`);
  store.exec(`UPDATE ledger SET body = replace(body, 'bot', 'bob') WHERE id = 1`);
  store.close();
  const json = await run("audit", "verify", "--json");
  expect(json.code).toBe(1);
  expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, broken: { id: 1, reason: expect.any(String) } });
  expect(await run("audit", "verify")).toMatchObject({
    code: 1,
    stdout: expect.stringContaining("broken at record 1"),
  });
  expect(await run("doctor")).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/broken +ledger +record 1/),
  });
});
