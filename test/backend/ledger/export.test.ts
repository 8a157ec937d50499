import { execFile, execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readAnchor } from "../../../src/backend/ledger/anchor-file.js";
import { recordHash } from "../../../src/backend/ledger/chain.js";
import {
  type ExportQuery,
  type ExportSource,
  exportLines,
  storeSource,
} from "../../../src/backend/ledger/export.js";
import { verifyExport } from "../../../src/backend/ledger/export-file.js";
import { rotate } from "../../../src/backend/ledger/rotate.js";
import { trustedKeys } from "../../../src/backend/ledger/signature.js";
import { Signer } from "../../../src/backend/ledger/signer.js";
import { readLedgerOf, writeLedgerOf } from "../../../src/backend/open-ledger.js";
import { openSqlite } from "../../../src/backend/store/sqlite.js";
import type { VerifyReport } from "../../../src/client/backend.js";
import { createLogger } from "../../../src/log.js";
import {
  damage,
  filledLedger,
  kindOf,
  type LedgerRow,
  linesOfFile,
  makeLedgerHome,
  rechained,
  rowsOf,
  runCalls,
} from "../../fixtures/backend/ledger.js";
import { open, person } from "../../fixtures/backend/store.js";

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
    for await (const piece of exportLines(storeSource(store), { format: "jsonl", ...query })) text += piece;
    writeFileSync(file, text);
    return text.split("\n").slice(0, -1);
  } finally {
    await store.close();
  }
}

async function check(anchor?: string, allowUnsigned = false): Promise<VerifyReport> {
  const keys = trustedKeys([{ from: "x", text: publicKey }]);
  const anchors = anchor === undefined ? null : [await readAnchor(anchor)];
  return verifyExport(file, { keys, anchors, allowUnsigned });
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
    expect(lines.length).toBe(19);
    const { ok, records, evidence } = await check(place.anchor);
    expect({ ok, records, first: evidence?.first }).toEqual({ ok: true, records: 17, first: 8 });
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

  test("of one agent never verifies, and is not called broken for that; what is wrong with its records is", async () => {
    const backend = await open(place);
    await backend.ensureAgent("claude-two");
    await backend.close();
    const lines = await exported({ agent: "claude-desktop" });
    expect(lines.slice(1, -1).every((line) => line.includes('"agent":"claude-desktop"'))).toBe(true);
    const { ok, broken, evidence } = await check();
    expect({ ok, broken }).toEqual({ ok: false, broken: null });
    expect(evidence?.notes).toEqual([expect.stringContaining("of claude-desktop alone")]);
    writeFileSync(
      file,
      `${lines.with(3, (lines[3] ?? "").replace('"agent":"claude-desktop"', '"agent":"claude-two"')).join("\n")}\n`,
    );
    expect((await check()).broken?.reason).toBe("it is no record of claude-desktop");
    writeFileSync(file, `${lines.with(3, (lines[3] ?? "").replace("{", "{ ")).join("\n")}\n`);
    expect((await check()).broken?.reason).toContain("canonical");
    writeFileSync(
      file,
      `${lines
        .with(3, lines[4] ?? "")
        .with(4, lines[3] ?? "")
        .join("\n")}\n`,
    );
    expect((await check()).broken?.reason).toContain("it comes behind record");
    writeFileSync(file, `${lines.slice(0, -2).join("\n")}\n`);
    expect(await check()).toMatchObject({
      ok: false,
      broken: { reason: expect.stringContaining("cut off") },
    });
  });

  test("that somebody without the key has written from its first line to its last is not believed", async () => {
    const lines = await exported();
    const unsigned = lines.slice(1, -1).filter((line) => !line.includes('"kind":"checkpoint"'));
    forge(lines, unsigned);
    expect((await check()).broken).toEqual({
      id: 1,
      reason: "no record of the export is signed: anybody could have written it",
    });
    expect(await check(undefined, true), "whatever is allowed").toMatchObject({ ok: false });
    forge(lines, unsigned, { checkpoint: null, key_id: null });
    expect(await check()).toMatchObject({ ok: false, broken: { id: 1 } });
  });

  test("whose end somebody without the key has written is not believed, unless that is asked for", async () => {
    const lines = await exported();
    const bodies = lines.slice(1, -1);
    // The last checkpoint is gone, and what it signed is another record.
    const changed = bodies
      .slice(0, -1)
      .with(bodies.length - 2, (bodies.at(-2) ?? "").replace('"kind":"', '"kind":"x'));
    expect(changed.at(-1)).not.toBe(bodies.at(-2));
    const newest = rows.findLast((row) => row.id < rows.length && kindOf(row) === "checkpoint")?.id ?? 0;
    expect(newest).toBeLessThan(rows.length - 1);
    forge(lines, changed);
    expect((await check()).broken).toMatchObject({
      id: newest,
      reason: expect.stringContaining(`the first line names record ${rows.length}`),
    });
    forge(lines, changed, { checkpoint: newest });
    expect((await check()).broken).toMatchObject({
      id: newest + 1,
      reason: expect.stringContaining(`nothing signs the records ${newest + 1} to ${rows.length - 1}`),
    });
    expect(await check(undefined, true)).toMatchObject({ ok: true, evidence: { signed: newest - 1 } });
    forge(lines, changed, { checkpoint: newest, key_id: "0".repeat(64) });
    expect(await check(undefined, true), "of another key").toMatchObject({ ok: false });
  });

  /** Numbers, links, the first line and the last line as they have to be. */
  function forge(lines: readonly string[], bodies: readonly string[], said: object = {}): void {
    const forged = rechained(bodies).map(({ body }) => body);
    const end = recordHash(forged.at(-1) ?? "");
    const { export: head } = JSON.parse(lines[0] ?? "") as { export: object };
    const first = { export: { ...head, to: forged.length, head: end, ...said } };
    const text = [
      JSON.stringify(first),
      ...forged,
      JSON.stringify({ end: { records: forged.length, head: end } }),
    ];
    writeFileSync(file, `${text.join("\n")}\n`);
  }

  test("goes on to the signature over the last record, and no further", async () => {
    const signed = rows.filter((row) => kindOf(row) === "checkpoint").map(({ id }) => id);
    for (const [to, end] of [
      [1, signed[0]],
      [signed[0], signed[0]],
      [(signed[0] ?? 0) + 1, signed[1]],
      [rows.length, rows.length],
      [10_000, rows.length],
    ]) {
      const lines = await exported({ to: to ?? 0 });
      expect(JSON.parse(lines[0] ?? "").export).toMatchObject({ to: end, checkpoint: end });
      expect(await check(), `to ${to}`).toMatchObject({ ok: true, records: end });
    }
    // Without a last one: what was written since the newest signature, and is signed with the next.
    const backend = await open(place);
    await backend.ensureAgent("claude-two");
    await exported();
    expect(await check()).toMatchObject({ ok: true, records: rows.length });
    await backend.close();
  });

  test("that a rotation overtakes begins behind what was moved, or says so", async () => {
    const rotateFirst = async (query: Partial<ExportQuery>, ...before: number[]): Promise<string> =>
      readLedgerOf({ home: place.home, log: createLogger("silent") }, async ({ store }) => {
        const source = storeSource(store);
        let text = "";
        const overtaken: ExportSource = {
          ...source,
          records: async (...args) => {
            const id = args[2] > 1 ? before.shift() : undefined;
            if (id !== undefined) await rotated(id);
            return source.records(...args);
          },
        };
        for await (const piece of exportLines(overtaken, { format: "jsonl", ...query })) text += piece;
        return text;
      });
    writeFileSync(file, await rotateFirst({}, 12));
    const { ok, evidence } = await check();
    expect(ok).toBe(true);
    expect(evidence?.first).toBeGreaterThan(1);
    await expect(rotateFirst({ from: evidence?.first ?? 0 }, 24)).rejects.toMatchObject({ code: "usage" });
    const backend = await open(place);
    await runCalls(backend, 200);
    await backend.close();
    await expect(rotateFirst({}, 0, 600)).rejects.toMatchObject({
      code: "backend_unavailable",
      message: expect.stringContaining("was moved to a segment"),
    });
  });

  async function rotated(before: number): Promise<void> {
    const { home } = place;
    await writeLedgerOf({ home, log: createLogger("silent") }, async (parts) => {
      const options = { before: { id: before }, folder: join(home, "segments"), by: person() };
      for await (const segment of rotate(parts, options)) expect(segment.last).toBeGreaterThan(0);
    });
  }

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

  test.each<[string, (row: string) => string]>([
    ["what was decided", (row) => row.replace(',"ALLOW",', ',"BLOCK",')],
    ["whose it was", (row) => row.replace('"claude-desktop"', '"claude-two"')],
    ["its number", (row) => row.replace(/^\d+/, "7777")],
  ])("of CSV that say otherwise than their record %s are found", async (_, change) => {
    const lines = await exported({ format: "csv" });
    const at = rows.findIndex((row) => kindOf(row) === "decision") + 2;
    const forged = change(lines[at] ?? "");
    expect(cells(forged).at(-1)).toBe(cells(lines[at] ?? "").at(-1));
    expect(forged).not.toBe(lines[at]);
    writeFileSync(file, `${lines.with(at, forged).join("\n")}\n`);
    expect((await check()).broken).toEqual({
      id: at - 1,
      reason: `the columns in line ${at + 1} of the file are not those of the record in it`,
    });
    for (const remark of [1, lines.length - 1]) {
      writeFileSync(file, `${lines.with(remark, `1${lines[remark]}`).join("\n")}\n`);
      expect((await check()).broken?.reason, `line ${remark + 1}`).toContain("columns");
    }
  });

  test("that are of a record which is no JSON are exported as they are", async () => {
    await damage(place.home, (store) => store.exec("UPDATE ledger SET body = 'gone' WHERE id = 4"));
    const lines = await exported({ format: "csv" });
    expect(lines[5]).toBe(`${",".repeat(14)}"gone"`);
    expect((await check()).broken).toMatchObject({ id: 4 });
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
      "written by anybody",
      (lines) => {
        const forged = rechained(lines.slice(1, -1).filter((line) => !line.includes('"kind":"checkpoint"')));
        const end = forged.at(-1)?.hash;
        return [
          lines[0] ?? "",
          ...forged.map(({ body }) => body),
          JSON.stringify({ end: { records: forged.length, head: end } }),
        ];
      },
      /record 1: nothing signs what is from here on/,
    ],
    [
      "added to",
      (lines) => {
        const [more] = rechained([rows[1]?.body ?? ""], rows.length + 1, rows.at(-1)?.hash);
        const end = JSON.stringify({ end: { records: rows.length + 1, head: more?.hash } });
        return [...lines.slice(0, -1), more?.body ?? "", end];
      },
      /record 31: nothing signs what is from here on/,
    ],
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
