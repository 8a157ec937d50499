import { execFile, execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readAnchor } from "../../../src/backend/ledger/anchor-file.js";
import { recordHash } from "../../../src/backend/ledger/chain.js";
import { type ExportQuery, exportLines } from "../../../src/backend/ledger/export.js";
import { verifyExport } from "../../../src/backend/ledger/export-file.js";
import { trustedKeys } from "../../../src/backend/ledger/signature.js";
import { Signer } from "../../../src/backend/ledger/signer.js";
import { openSqlite } from "../../../src/backend/store/sqlite.js";
import type { VerifyReport } from "../../../src/client/backend.js";
import {
  filledLedger,
  kindOf,
  type LedgerRow,
  linesOfFile,
  makeLedgerHome,
  rowsOf,
} from "../../fixtures/backend/ledger.js";
import { open } from "../../fixtures/backend/store.js";

let place: ReturnType<typeof makeLedgerHome>;
let rows: LedgerRow[];
let file: string;
let publicKey: string;

beforeEach(async () => {
  place = makeLedgerHome(5);
  rows = await filledLedger(place);
  file = join(place.home, "export");
  publicKey = new Signer(place.home).publicKey;
});
afterEach(() => place.remove());

async function exported(query: Partial<ExportQuery> = {}): Promise<string[]> {
  const store = await openSqlite(join(place.home, "aegis.db"));
  try {
    let text = "";
    for await (const piece of exportLines(store, { format: "jsonl", ...query })) text += piece;
    writeFileSync(file, text);
    return text.split("\n").slice(0, -1);
  } finally {
    await store.close();
  }
}

async function check(anchor?: string): Promise<VerifyReport> {
  const keys = trustedKeys([{ from: "x", text: publicKey }]);
  const anchors = anchor === undefined ? null : [await readAnchor(anchor)];
  return verifyExport(file, { keys, anchors, unsigned: Number.MAX_SAFE_INTEGER, past: true });
}

describe("JSONL", () => {
  test("holds the bodies as they were hashed, between a line that says what it holds and one that ends it", async () => {
    const lines = await exported();
    expect(lines.slice(1, -1)).toEqual(rows.map(({ body }) => body));
    expect(lines.slice(1, -1).map(recordHash)).toEqual(rows.map(({ hash }) => hash));
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      export: {
        format: 1,
        exported_at: expect.stringMatching(/^20.*Z$/),
        agent: null,
        from: 1,
        to: rows.length,
        prev: "",
        head: rows.at(-1)?.hash,
        checkpoint: rows.length,
        key_id: new Signer(place.home).keyId,
      },
    });
    expect(JSON.parse(lines.at(-1) ?? "")).toEqual({
      end: { records: rows.length, head: rows.at(-1)?.hash },
    });
    expect(await check()).toMatchObject({
      ok: true,
      records: rows.length,
      evidence: { signed: rows.length - 1 },
    });
  });

  test.each<[string, (lines: string[]) => string[], number, RegExp]>([
    ["was cut off after a record", (lines) => lines.slice(0, 9), 9, /cut off/],
    ["was cut off before its last line", (lines) => lines.slice(0, -1), 31, /cut off/],
    ["lacks a record", (lines) => lines.toSpliced(5, 1), 5, /record 5 is missing/],
    ["holds a record twice", (lines) => lines.toSpliced(5, 0, lines[5] ?? ""), 5, /has the number 5/],
    [
      "has two records swapped",
      (lines) => lines.with(5, lines[6] ?? "").with(6, lines[5] ?? ""),
      5,
      /record 5 is missing/,
    ],
    [
      "has a record changed",
      (lines) => lines.with(2, (lines[2] ?? "").replace("files__", "files_x")),
      3,
      /does not continue/,
    ],
    [
      "lacks records at its end, and says so",
      (lines) => [...lines.slice(0, 20), lines.at(-1) ?? ""],
      20,
      /does not hold the records/,
    ],
    [
      "goes on behind its last line",
      (lines) => [...lines, lines.at(-2) ?? ""],
      0,
      /line 33 of the file belongs to no record/,
    ],
  ])("that %s is found", async (_, change, id, reason) => {
    const lines = await exported();
    expect(lines.length).toBe(32);
    writeFileSync(file, `${change(lines).join("\n")}\n`);
    const { ok, broken } = await check();
    expect(ok).toBe(false);
    expect(broken?.reason).toMatch(reason);
    expect(broken?.id).toBe(id);
  });

  test("that was rewritten whole, with new hashes and a new end, is found by its signatures", async () => {
    const lines = await exported();
    let prev = "";
    const forged = lines.slice(1, -1).map((line) => {
      const body = line
        .replace('"decision":"ALLOW"', '"decision":"BLOCK"')
        .replace(/"prev":"[0-9a-f]*"/, `"prev":"${prev}"`);
      prev = recordHash(body);
      return body;
    });
    const head = (lines[0] ?? "").replace(rows.at(-1)?.hash ?? "", prev);
    writeFileSync(
      file,
      `${[head, ...forged, JSON.stringify({ end: { records: rows.length, head: prev } })].join("\n")}\n`,
    );
    expect((await check()).broken).toMatchObject({ id: 6, reason: expect.stringContaining("did not make") });
  });

  test("whose last line was made to fit what was cut off is found by its first", async () => {
    const lines = await exported();
    const kept = lines.slice(0, 19);
    const end = JSON.stringify({ end: { records: 18, head: rows[17]?.hash } });
    writeFileSync(file, `${[...kept, end].join("\n")}\n`);
    expect((await check()).broken).toMatchObject({
      id: 19,
      reason: expect.stringContaining("does not hold the records"),
    });
  });

  test("does not verify with another key", async () => {
    await exported();
    const other = makeLedgerHome(5);
    publicKey = new Signer(other.home).publicKey;
    expect((await check()).broken).toMatchObject({ id: 6, reason: expect.stringContaining("not trusted") });
    other.remove();
  });

  test("of a stretch begins where it says, and names what it cannot show", async () => {
    const lines = await exported({ from: 8, to: 20 });
    expect(lines.length).toBe(15);
    const { ok, records, evidence } = await check(place.anchor);
    expect({ ok, records, first: evidence?.first }).toEqual({ ok: true, records: 13, first: 8 });
    expect(evidence?.notes).toEqual([expect.stringContaining("begins at record 8")]);
    writeFileSync(file, `${lines.with(0, (lines[0] ?? "").replace(/"prev":"./, '"prev":"')).join("\n")}\n`);
    await expect(check()).rejects.toMatchObject({ code: "usage" });
    writeFileSync(file, `${lines.toSpliced(1, 1).join("\n")}\n`);
    expect((await check()).broken).toMatchObject({ id: 8 });
  });

  test("is held against an anchor, which may know of later ones", async () => {
    await exported({ to: 20 });
    expect(await check(place.anchor)).toMatchObject({ ok: true });
    const lines = linesOfFile(place.anchor);
    writeFileSync(
      place.anchor,
      `${lines.with(1, (lines[1] ?? "").replace(/"at":"20/, '"at":"19')).join("\n")}\n`,
    );
    expect((await check(place.anchor)).broken).toMatchObject({ id: 12 });
  });

  test("of one agent says that it is filtered; its records are checked", async () => {
    const backend = await open(place);
    await backend.ensureAgent("claude-two");
    await backend.close();
    const lines = await exported({ agent: "claude-desktop" });
    expect(lines.slice(1, -1).every((line) => line.includes('"agent":"claude-desktop"'))).toBe(true);
    const { ok, evidence } = await check();
    expect(ok).toBe(true);
    expect(evidence?.notes).toEqual([expect.stringContaining("of claude-desktop alone")]);
    writeFileSync(file, `${lines.with(3, (lines[3] ?? "").replace("{", "{ ")).join("\n")}\n`);
    expect(await check()).toMatchObject({ ok: false });
    writeFileSync(
      file,
      `${lines
        .with(3, lines[4] ?? "")
        .with(4, lines[3] ?? "")
        .join("\n")}\n`,
    );
    expect(await check()).toMatchObject({ ok: false });
    writeFileSync(file, `${lines.slice(0, -2).join("\n")}\n`);
    expect(await check()).toMatchObject({
      ok: false,
      broken: { reason: expect.stringContaining("cut off") },
    });
  });

  test.each([{ from: 1000 }, { from: 9, to: 8 }])(
    "of records that are not there (%j) is refused",
    async (range) => {
      await expect(exported(range)).rejects.toMatchObject({ code: "usage" });
    },
  );

  test.each(["", "nonsense\n", '{"id":1}\n', '{"export":{}}\n'])(
    "that is none (%j) is refused",
    async (text) => {
      writeFileSync(file, text);
      await expect(check()).rejects.toMatchObject({ code: "usage" });
    },
  );
});

describe("names and sentences that would be something else to another reader", () => {
  const nasty = [
    '=cmd|"/c calc"!A1',
    "+1+1",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    'x"}\n{"decision":"ALLOW"',
    "line\u2028separator\u2029paragraph\u0085next",
    "a,b;c\"d'e",
    "\u0000\u0001\u001f",
    "ü🚀",
  ];

  beforeEach(async () => {
    const backend = await open(place);
    for (const reason of nasty) await backend.note({ kind: "refused", agent: reason, reason });
    await backend.close();
    rows = await rowsOf(place.home);
  });

  test("make no line of JSONL that was not written", async () => {
    const lines = await exported();
    expect(lines.length).toBe(rows.length + 2);
    for (const line of lines) expect(typeof JSON.parse(line)).toBe("object");
    expect(await check()).toMatchObject({ ok: true, records: rows.length });
  });

  test("make no row and no formula of CSV; the records in it verify", async () => {
    const lines = await exported({ format: "csv" });
    expect(lines.length).toBe(rows.length + 3);
    expect(lines[0]).toBe(
      "id,at,kind,agent,principal,server,tool,action,call,decision,outcome,rule,reason,approval,body",
    );
    for (const line of lines) {
      for (const cell of cells(line)) expect(cell).not.toMatch(/^[=+\-@\t\r]|[\r\n\u2028\u2029\u0085]/);
    }
    const bodies = lines.slice(2, -1).map((line) => cells(line).at(-1));
    expect(bodies.map((body) => body)).toEqual(rows.map(({ body }) => body));
    expect(await check()).toMatchObject({ ok: true, records: rows.length });
    writeFileSync(file, `${lines.toSpliced(9, 1).join("\n")}\n`);
    expect((await check()).broken).toMatchObject({ id: 8 });
  });

  /** RFC 4180, written for this test. */
  function cells(line: string): string[] {
    return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
      ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? "",
    );
  }
});

const python = (() => {
  try {
    execFileSync("python3", ["-c", "import sys; sys.exit(sys.version_info < (3, 9))"], { stdio: "ignore" });
    return execFileSync("openssl", ["version"], { encoding: "utf8" }).startsWith("OpenSSL 3");
  } catch {
    return false;
  }
})();
if (!python) console.warn("No python3 and OpenSSL 3 here: the verifier of docs/ledger.md is not run.");

describe.skipIf(!python)("the verifier of docs/ledger.md, which is not ours", () => {
  const page = readFileSync(new URL("../../../docs/ledger.md", import.meta.url), "utf8");
  const [, script = ""] = /^```python\n(.*?)^```/ms.exec(page) ?? [];

  async function run(): Promise<{ code: number; said: string }> {
    const key = join(place.home, "auditor.pub");
    writeFileSync(key, publicKey);
    try {
      const { stdout } = await promisify(execFile)("python3", ["-c", script, file, key]);
      return { code: 0, said: stdout };
    } catch (thrown) {
      const { code, stderr } = thrown as { code: number; stderr: string };
      return { code, said: stderr };
    }
  }

  test("believes what was written", async () => {
    await exported();
    expect(script.split("\n").length).toBeLessThan(45);
    const said = `${rows.length} records hold, signed up to record ${rows.length - 1}\n`;
    expect(await run()).toEqual({ code: 0, said });
  });

  test.each<[string, (lines: string[]) => string[], RegExp]>([
    [
      "changed",
      (lines) => lines.with(2, (lines[2] ?? "").replace("files__", "files_x")),
      /record 3: missing, or not linked/,
    ],
    ["cut off", (lines) => lines.slice(0, -3), /was cut off/],
    [
      "signed by nobody",
      (lines) =>
        lines.map((line) =>
          line.replace(
            /"signature":"./,
            (start) => `${start.slice(0, -1)}${start.endsWith("A") ? "B" : "A"}`,
          ),
        ),
      /record 6: its signature does not stand/,
    ],
  ])("does not believe what was %s", async (_, change, reason) => {
    const lines = await exported();
    writeFileSync(file, `${change(lines).join("\n")}\n`);
    const { code, said } = await run();
    expect(code).toBe(1);
    expect(said).toMatch(reason);
  });

  test("does not believe another key", async () => {
    await exported();
    const other = makeLedgerHome(5);
    publicKey = new Signer(other.home).publicKey;
    expect(await run()).toMatchObject({ code: 1, said: expect.stringContaining("record 6") });
    other.remove();
  });

  test("finds every kind of signed record", () => {
    expect(rows.map(kindOf)).toContain("checkpoint");
  });
});
