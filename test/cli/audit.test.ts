import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { recordHash } from "../../src/backend/ledger/chain.js";
import { damage, filledLedger, kindOf, type LedgerRow, rewrite, rowsOf } from "../fixtures/backend/ledger.js";
import { type Finished, jsonLines, makePlace, type Place } from "../fixtures/gateway.js";

const policy = "agent: claude-*\ndefault: block\nallow: [files__read]\n";

let place: Place;
let rows: LedgerRow[];
beforeAll(async () => {
  place = makePlace({ "claude.yaml": policy });
  writeFileSync(join(place.home, "config.yaml"), "ledger: { checkpoint: { records: 5 } }\n");
  rows = await filledLedger(place);
});
afterAll(() => place.remove());

const run = (...args: string[]): Promise<Finished> => place.cli(["audit", ...args]);
const inHome = (name: string): string => join(place.home, name);

describe("audit verify", () => {
  test("says what holds and what vouches for it, and changes nothing", async () => {
    const { code, stdout, stderr } = await run("verify");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(
      new RegExp(`^The ledger holds: ${rows.length} records; the newest has the hash ${rows.at(-1)?.hash}`),
    );
    expect(stdout).toMatch(
      new RegExp(`Signed up to record ${rows.length - 1} by [0-9a-f]{64} \\(5 checkpoints\\)\\.`),
    );
    expect(stdout).toContain(`The anchor ${inHome("ledger.anchor")} holds 5 checkpoints.`);
    expect(await rowsOf(place.home)).toEqual(rows);
  });

  test("prints one document with --json", async () => {
    const { code, stdout } = await run("verify", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      records: rows.length,
      head: rows.at(-1)?.hash,
      broken: null,
      open: 0,
      backend: inHome("aegis.db"),
      evidence: {
        checkpoints: 5,
        signed: rows.length - 1,
        anchors: [{ behind: 0, checkpoints: 5 }],
        notes: [],
      },
    });
  });

  test("names the first bad record, and exits with 1", async () => {
    await damage(place.home, (store) =>
      store.exec("UPDATE ledger SET body = replace(body, 'ALLOW', 'BLOCK') WHERE id >= 8"),
    );
    const { code, stdout } = await run("verify");
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^The ledger is broken at record \d+: its content does not have its hash\.\nThe \d+ records before it hold/,
    );
    await rewrite(place.home, rows);
    expect(await run("verify")).toMatchObject({ code: 0 });
  });

  test("believes the keys and anchors that are named, and no others", async () => {
    const stranger = makePlace();
    await filledLedger({ ...stranger, policies: place.policies }, 1);
    const other = await run("verify", "--key", join(stranger.home, "ledger.pub"));
    expect(other).toMatchObject({ code: 1, stdout: expect.stringContaining("which is not trusted") });
    const anchored = await run("verify", "--anchor", join(stranger.home, "ledger.anchor"));
    expect(anchored).toMatchObject({ code: 1, stdout: expect.stringContaining("anchor") });
    stranger.remove();
    expect(other.stdout).toMatch(
      /add that backend's ledger\.pub to the one of this home, or name it with --key\.\n/,
    );
    const missing = await run("verify", "--anchor", inHome("none.anchor"));
    expect(missing).toMatchObject({ code: 1, stdout: expect.stringContaining("is missing") });
    expect(missing.stdout).toMatch(/Name it with --anchor, or say --no-anchor\.\n/);
    for (const { stdout } of [other, anchored, missing]) expect(stdout).not.toContain("..");
    const none = await run("verify", "--no-anchor");
    expect(none).toMatchObject({ code: 0, stdout: expect.stringContaining("No anchor was compared") });
    expect(await run("verify", "--key", inHome("none.pub"))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("none.pub"),
    });
  });

  test.each([
    [["--database", "postgres://x/y", "--backend", "http://127.0.0.1:1"]],
    [["--backend", "http://127.0.0.1:1", "--key", "x"]],
    [["--backend", "http://127.0.0.1:1", "--segments", "x"]],
    [["--backend", "http://127.0.0.1:1", "--local"]],
    [["--database", "postgres://x/y", "--local"]],
    [["--allow-unsigned"]],
  ])("refuses %s", async (flags) => {
    expect(await run("verify", ...flags)).toMatchObject({ code: 2 });
  });
});

describe("audit export", () => {
  test("writes a file for its user alone, which verifies without database and home, and is recorded", async () => {
    const file = join(place.root, "ledger.jsonl");
    expect(await run("export", "--out", file)).toMatchObject({ code: 0, stdout: "" });
    if (process.platform !== "win32") expect(statSync(file).mode & 0o777).toBe(0o600);
    const now = await rowsOf(place.home);
    expect(JSON.parse(now.at(-2)?.body ?? "")).toMatchObject({
      kind: "export",
      principal: expect.stringMatching(/^os:/),
      reason: "The ledger was exported as jsonl: the first to the newest.",
    });
    expect(readFileSync(file, "utf8").split("\n").slice(1, -2)).toEqual(now.map(({ body }) => body));

    const bare = makePlace();
    const key = join(place.root, "auditor.pub");
    writeFileSync(key, readFileSync(inHome("ledger.pub")));
    const verified = await bare.cli(["audit", "verify", "--file", file, "--key", key, "--json"]);
    expect(verified.code).toBe(0);
    expect(JSON.parse(verified.stdout)).toMatchObject({ ok: true, records: now.length, backend: file });
    expect(readdirSync(bare.home)).toEqual([]);
    expect(await bare.cli(["audit", "verify", "--file", file])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--key ledger.pub"),
    });
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('"decision":"ALLOW"', '"decision":"BLOCK"'));
    expect(await bare.cli(["audit", "verify", "--file", file, "--key", key])).toMatchObject({ code: 1 });
    const forged = text
      .split("\n")
      .filter((line) => !line.includes('"kind":"checkpoint"'))
      .join("\n");
    const { stdout, code: forgedCode } = await bare.cli(["audit", "verify", "--file", file, "--key", key]);
    expect(forgedCode).toBe(1);
    expect(stdout).not.toContain("holds:");
    writeFileSync(file, forged);
    expect(await bare.cli(["audit", "verify", "--file", file, "--key", key])).toMatchObject({ code: 1 });
    bare.remove();
  });

  test.each([[[]], [["--to", "7"]], [["--from", "3", "--to", "8", "--format", "csv"]], [["--from", "9"]]])(
    "with %j verifies by itself",
    async (flags) => {
      const file = join(place.root, "part");
      expect(await run("export", ...flags, "--out", file)).toMatchObject({ code: 0 });
      const verified = await run("verify", "--file", file, "--json");
      expect(verified.code).toBe(0);
      const { evidence, records } = JSON.parse(verified.stdout);
      expect(evidence.signed).toBe(evidence.first + records - 2);
    },
  );

  test.skipIf(process.platform === "win32")("writes to what is no file on a disk", async () => {
    const { code, stderr } = await run("export", "--out", "/dev/null");
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^aegis: [1-9]\d+ bytes written to \/dev\/null\n$/),
    });
  });

  test("prints where no file is named, and a pipe that is closed early is no error", async () => {
    const { code, stdout } = await run("export", "--from", "3", "--to", "7");
    expect(code).toBe(0);
    expect(jsonLines<{ id?: number }>(stdout).map(({ id }) => id)).toEqual([
      undefined,
      3,
      4,
      5,
      6,
      7,
      8,
      9,
      10,
      11,
      12,
      undefined,
    ]);
  });

  test("writes CSV, and the records of one agent, which cannot be verified, and are not said to hold", async () => {
    const file = join(place.root, "ledger.csv");
    const written = await run("export", "--format", "csv", "--agent", "claude-desktop", "--out", file);
    expect(written).toMatchObject({ code: 0, stderr: expect.stringContaining("it cannot be verified") });
    const { code, stdout } = await run("verify", "--file", file);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^This cannot be verified: .*ledger\.csv\.\nThe export holds the records of claude-desktop alone/,
    );
    expect(stdout).not.toMatch(/The ledger|broken/);
    const document = await run("verify", "--file", file, "--json");
    expect(document.code).toBe(1);
    expect(JSON.parse(document.stdout)).toMatchObject({ ok: false, broken: null });
  });

  test("says so where nothing signs its end, and takes it if that is asked for", async () => {
    const file = join(place.root, "ledger.jsonl");
    expect(await run("export", "--out", file)).toMatchObject({ code: 0 });
    const lines = readFileSync(file, "utf8").split("\n");
    const head = JSON.parse(lines[0] ?? "").export;
    const signed = (await rowsOf(place.home))
      .filter((row) => kindOf(row) === "checkpoint")
      .map(({ id }) => id);
    const bodies = lines.slice(1, -3);
    const end = { records: bodies.length, head: recordHash(bodies.at(-1) ?? "") };
    const first = { ...head, to: bodies.length, head: end.head, checkpoint: signed.at(-2) };
    writeFileSync(
      file,
      `${[JSON.stringify({ export: first }), ...bodies, JSON.stringify({ end })].join("\n")}\n`,
    );
    const refused = await run("verify", "--file", file);
    expect(refused).toMatchObject({ code: 1, stdout: expect.stringContaining("nothing signs the record") });
    expect(await run("verify", "--file", file, "--allow-unsigned")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(`Signed up to record ${(signed.at(-2) ?? 0) - 1}`),
    });
  });

  test.each([
    [["--format", "xml"]],
    [["--from", "0"]],
    [["--from", "x"]],
    [["--from", "100000"]],
    [["--out", "/nowhere/at/all"]],
  ])("refuses %s", async (flags) => {
    expect(await run("export", ...flags)).toMatchObject({ code: 2 });
  });
});

describe("where a backend is named", () => {
  const commands = [["verify", "--key", "x"], ["export"], ["rotate", "--before", "20"]];

  test.each(commands)("audit %s says how to come to the store", async (...args) => {
    const env = { AEGIS_BACKEND_URL: "http://127.0.0.1:1" };
    const { code, stderr } = await place.cli(["audit", ...args], { env });
    expect(code).not.toBe(0);
    expect(stderr).toContain("AEGIS_BACKEND_URL names a backend on the other side of HTTP");
    expect(stderr).toContain("unset AEGIS_BACKEND_URL, or give --local");
    expect(stderr).toContain("--database postgres://");
  });

  test("in config.yaml of this home, --local works on its own store", async () => {
    const config = readFileSync(inHome("config.yaml"), "utf8");
    writeFileSync(inHome("config.yaml"), `${config}backend: http://127.0.0.1:1\n`);
    for (const args of commands) {
      const refused = await run(...args);
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toMatch(
        /config\.yaml names a backend .*\n?.*give --local for the store in AEGIS_HOME/,
      );
    }
    expect(await run("verify", "--local")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("The ledger holds"),
    });
    expect(await run("export", "--local", "--out", join(place.root, "local"))).toMatchObject({ code: 0 });
    expect(await run("rotate", "--local", "--before", "2")).toMatchObject({ code: 0 });
    expect(await run("verify", "--local", "--backend", "http://127.0.0.1:1")).toMatchObject({ code: 2 });
    writeFileSync(inHome("config.yaml"), config);
  });
});

describe("audit rotate", () => {
  test("moves records into segments; what is left verifies, and with the segments the whole", async () => {
    const nothing = await run("rotate", "--before", "90d");
    expect(nothing).toMatchObject({ code: 0, stdout: expect.stringContaining("Nothing was moved") });
    const { code, stdout } = await run("rotate", "--before", "20", "--json");
    expect(code).toBe(0);
    const [moved] = jsonLines<{ file: string; first: number; last: number }>(stdout);
    expect(moved).toMatchObject({ first: 1, last: 18 });
    expect(readdirSync(inHome("segments"))).toEqual([moved?.file.split("/").at(-1)]);
    const left = await run("verify");
    expect(left).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("Records 1 to 18 are in segments"),
    });
    const whole = await run("verify", "--segments", inHome("segments"), "--json");
    expect(JSON.parse(whole.stdout)).toMatchObject({ ok: true, evidence: { first: 1 } });
    rmSync(moved?.file ?? "");
    expect(await run("verify", "--segments", inHome("segments"))).toMatchObject({ code: 1 });
    expect(await place.cli(["log", "--limit", "2"])).toMatchObject({ code: 0 });
  });

  test.each([[[]], [["--before", "soon"]], [["--before", "0"]]])("refuses %j", async (flags) => {
    expect(await run("rotate", ...flags)).toMatchObject({ code: 2 });
  });
});
