import { generateKeyPairSync } from "node:crypto";
import { appendFileSync, chmodSync, copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { recordHash } from "../../../src/backend/ledger/chain.js";
import { keyId, sealed } from "../../../src/backend/ledger/signature.js";
import { Signer } from "../../../src/backend/ledger/signer.js";
import { verify } from "../../../src/backend/ledger/verify.js";
import { openSqlite } from "../../../src/backend/store/sqlite.js";
import type { VerifyReport } from "../../../src/client/backend.js";
import {
  damage,
  filledLedger,
  kindOf,
  type LedgerRow,
  linesOfFile,
  makeLedgerHome,
  rechained,
  rewrite,
  rowsOf,
  runCalls,
  sorted,
} from "../../fixtures/backend/ledger.js";
import { open } from "../../fixtures/backend/store.js";

let place: ReturnType<typeof makeLedgerHome>;
let rows: LedgerRow[];

beforeEach(async () => {
  place = makeLedgerHome(5);
  rows = await filledLedger(place);
});
afterEach(() => place.remove());

/** As `aegis audit verify` does: beside everybody, and signing nothing. */
async function check(anchors: readonly string[] | null = [place.anchor]): Promise<VerifyReport> {
  const store = await openSqlite(join(place.home, "aegis.db"));
  try {
    const keys = new Signer(place.home).trusted();
    return await verify(store, { keys, anchors, unsigned: 5, segments: null });
  } finally {
    await store.close();
  }
}

const checkpoints = (): LedgerRow[] => rows.filter((row) => kindOf(row) === "checkpoint");
/** The first decision. */
const decided = (): LedgerRow => {
  const row = rows.find((each) => kindOf(each) === "decision");
  if (row === undefined) throw new Error("no decision");
  return row;
};
const refused = (): string => decided().body.replace('"kind":"decision"', '"kind":"refused"');
const bodies = (): string[] => rows.map(({ body }) => body);

async function expectBroken(id: number, reason: RegExp, anchors?: readonly string[] | null): Promise<void> {
  const { ok, broken } = await check(anchors);
  expect({ ok, id: broken?.id }, String(broken?.reason)).toEqual({ ok: false, id });
  expect(broken?.reason).toMatch(reason);
}

test("a ledger as it was written holds, and says what vouches for it", async () => {
  const { ok, records, head, evidence } = await check();
  expect({ ok, records, head }).toEqual({ ok: true, records: rows.length, head: rows.at(-1)?.hash });
  expect(evidence).toEqual({
    first: 1,
    checkpoints: checkpoints().length,
    signed: rows.length - 1,
    keys: [new Signer(place.home).keyId],
    anchors: [{ name: place.anchor, checkpoints: checkpoints().length, behind: 0 }],
    notes: [],
  });
  expect(checkpoints().length).toBeGreaterThan(4);
});

describe("a change of one field of one row", () => {
  test.each(["id", "agent", "key", "body", "hash"] as const)(
    "%s is found, whatever kind of record it is",
    async (field) => {
      for (const row of [rows[0], rows[2], checkpoints()[1], rows.at(-1)]) {
        if (row === undefined) throw new Error("no row");
        const forged = { ...row };
        if (field === "id") forged.id = row.id + 1000;
        else if (field === "body") forged.body = row.body.replace(/"at":"20/, '"at":"19');
        else forged[field] = `${row[field] ?? ""}0`;
        await rewrite(
          place.home,
          rows.map((each) => (each === row ? forged : each)),
        );
        expect((await check()).broken?.id, `${field} of ${row.id}`).toBe(row.id);
      }
      await rewrite(place.home, rows);
      expect(await check()).toMatchObject({ ok: true });
    },
  );

  test("one bit anywhere in a body is found", async () => {
    const row = rows[7];
    if (row === undefined) throw new Error("no row");
    for (let at = 0; at < row.body.length; at += 7) {
      const bytes = Buffer.from(row.body);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      await damage(place.home, (store) =>
        store.prepare("UPDATE ledger SET body = ? WHERE id = ?").run(bytes.toString(), row.id),
      );
      expect((await check()).broken?.id, `bit of byte ${at}`).toBe(row.id);
    }
  });
});

describe("whoever writes the database, and has no key, is found", () => {
  test("who changes a record and recomputes every hash after it", async () => {
    const forged = bodies();
    const row = decided();
    forged[row.id - 1] = row.body.replace('"decision":"ALLOW"', '"decision":"BLOCK"');
    await rewrite(place.home, rechained(forged));
    const signed = checkpoints().find(({ id }) => id > row.id);
    await expectBroken(signed?.id ?? 0, /a signature that the key [0-9a-f]{64} did not make/, null);
    await expectBroken(signed?.id ?? 0, /the anchor .* the ledger was rewritten/);
  });

  test("who changes a record and its own hash alone", async () => {
    for (const row of rows.slice(0, -1).filter((each) => kindOf(each) !== "checkpoint")) {
      const body = row.body.replace(/"at":"20/, '"at":"19');
      const forged = { ...row, body, hash: recordHash(body) };
      await rewrite(place.home, rows.with(row.id - 1, forged));
      await expectBroken(row.id + 1, /it does not continue the record before it/);
    }
  });

  test.each<[string, (said: Record<string, unknown>) => void, RegExp]>([
    ["takes the signature of a checkpoint away", (said) => delete said.signature, /has no signature/],
    ["takes the key's id away", (said) => delete said.key_id, /does not name the key/],
    [
      "empties the signature",
      (said) => {
        said.signature = "";
      },
      /has no signature/,
    ],
    [
      "makes it another kind of record",
      (said) => {
        said.kind = "refused";
      },
      /should be a checkpoint/,
    ],
  ])("who %s, and recomputes every hash", async (_, change, reason) => {
    const [, second] = checkpoints();
    const forged = bodies().map((body) => {
      const said = JSON.parse(body) as Record<string, unknown>;
      if (said.id === second?.id) change(said);
      return sorted(said);
    });
    await rewrite(place.home, rechained(forged));
    const { ok, broken } = await check(null);
    expect(ok).toBe(false);
    expect(broken?.id).toBe(second?.id);
    expect(broken?.reason).toMatch(reason);
  });

  test("who takes all checkpoints out", async () => {
    await rewrite(place.home, rechained(bodies().filter((body) => !body.includes('"kind":"checkpoint"'))));
    const { ok, broken } = await check(null);
    expect({ ok, reason: broken?.reason }).toEqual({
      ok: false,
      reason: expect.stringMatching(/nothing is signed/),
    });
    expect(await check()).toMatchObject({ ok: false });
  });

  test("who goes on behind the last checkpoint for longer than one may be missing", async () => {
    const last = rows.at(-1);
    const appended = rechained(Array.from({ length: 6 }, refused), rows.length + 1, last?.hash ?? "");
    await rewrite(place.home, [...rows, ...appended.slice(0, 5)]);
    expect(await check()).toMatchObject({ ok: true, evidence: { signed: rows.length - 1 } });
    await rewrite(place.home, [...rows, ...appended]);
    await expectBroken(rows.length + 6, /should be a checkpoint/);
  });

  test("who signs with a key of his own", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    let prev = "";
    const forged = bodies().map((body, index) => {
      const { signature, ...said } = JSON.parse(body) as Record<string, unknown>;
      const plain = sorted({
        ...said,
        prev,
        ...(signature === undefined ? { reason: "forged" } : { key_id: keyId(publicKey) }),
      });
      const text = signature === undefined ? plain : sealed(plain, privateKey);
      const hash = recordHash(text);
      prev = hash;
      const row = rows[index];
      return { id: index + 1, agent: row?.agent ?? null, key: row?.key ?? null, body: text, hash };
    });
    await rewrite(place.home, forged);
    await expectBroken(checkpoints()[0]?.id ?? 0, /which is not trusted/, null);
    const store = await openSqlite(join(place.home, "aegis.db"));
    const keys = new Map([[keyId(publicKey), publicKey]]);
    const believed = await verify(store, { keys, anchors: null, unsigned: 5, segments: null });
    await store.close();
    expect(believed, "the forgery is complete: only the key tells").toMatchObject({ ok: true });
  });
});

describe("the anchor", () => {
  test.each([1, 3, 7])(
    "finds that the last %i records were cut off, and says what it holds",
    async (count) => {
      await damage(place.home, (store) =>
        store.prepare("DELETE FROM ledger WHERE id > ?").run(rows.length - count),
      );
      expect(await check(null), "cut well, nothing in the database tells").toMatchObject({ ok: true });
      await expectBroken(
        rows.length - count + 1,
        new RegExp(`missing: the anchor .* holds the checkpoint ${rows.length} of 20`),
      );
    },
  );

  test("finds an old copy of the store that was restored", async () => {
    const file = join(place.home, "aegis.db");
    const old = join(place.home, "old.db");
    const copy = await openSqlite(file);
    await copy.writer.prepare(`VACUUM INTO '${old}'`).run();
    await copy.close();
    const backend = await open(place);
    await runCalls(backend, 4);
    await backend.close();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
    copyFileSync(old, file);
    chmodSync(file, 0o600);
    await expectBroken(rows.length + 1, /the end was cut off, or an old copy was restored/i);

    // With the true key, the copy is continued: a fork.
    const continued = await open(place);
    await runCalls(continued, 20);
    await continued.close();
    const { ok, broken } = await check();
    expect(ok).toBe(false);
    expect(broken?.id).toBeGreaterThan(rows.length);
    expect(broken?.reason).toMatch(/rewritten, or an old copy of it was restored and continued/);
  });

  test("that is missing is a failure where there are checkpoints, unless none is asked for", async () => {
    rmSync(place.anchor);
    await expectBroken(rows.length + 1, /the anchor .* is missing/);
    expect(await check(null)).toMatchObject({ ok: true, evidence: { anchors: null } });
  });

  test("that was emptied is as good as missing", async () => {
    writeFileSync(place.anchor, "");
    await expectBroken(rows.length + 1, /is missing/);
  });

  test("that is behind is said to be", async () => {
    const lines = linesOfFile(place.anchor);
    writeFileSync(place.anchor, `${lines.slice(0, -2).join("\n")}\n`);
    const { ok, evidence } = await check();
    expect(ok).toBe(true);
    expect(evidence?.anchors).toEqual([{ name: place.anchor, checkpoints: lines.length - 2, behind: 2 }]);
  });

  test("holds against the whole ledger what any of its lines says", async () => {
    const lines = linesOfFile(place.anchor);
    for (const [index, line] of lines.entries()) {
      const forged = line.replace(
        /"prev":"./,
        (start) => `${start.slice(0, -1)}${start.endsWith("0") ? "1" : "0"}`,
      );
      writeFileSync(place.anchor, `${lines.toSpliced(index, 1, forged).join("\n")}\n`);
      await expectBroken(Number(JSON.parse(line).id), /is not the checkpoint that the anchor/);
    }
  });

  test("with a line that is no checkpoint is not believed; one that a crash cut short is, where the whole one follows", async () => {
    const whole = readFileSync(place.anchor, "utf8");
    writeFileSync(place.anchor, `${whole}nonsense\n`);
    await expectBroken(rows.length + 1, /cannot be believed: its line \d+ is no checkpoint/);
    const [first = ""] = linesOfFile(place.anchor);
    writeFileSync(place.anchor, `${first.slice(0, 50)}\n${whole}`);
    expect(await check()).toMatchObject({ ok: true });
    writeFileSync(place.anchor, whole + first.slice(0, 50));
    await expectBroken(rows.length + 1, /cannot be believed/);
  });

  test("to which somebody without the key has added a line is not believed", async () => {
    const forged = (linesOfFile(place.anchor).at(-1) ?? "").replace(/"id":\d+/, '"id":99999');
    appendFileSync(place.anchor, `${forged}\n`);
    await expectBroken(
      rows.length + 1,
      /cannot be believed: its checkpoint 99999 has a signature that the key/,
    );
  });

  test("of a second place finds what the first was made to hide", async () => {
    const second = join(place.home, "second.anchor");
    copyFileSync(place.anchor, second);
    const keep = checkpoints()[1]?.id ?? 0;
    await damage(place.home, (store) => store.prepare("DELETE FROM ledger WHERE id > ?").run(keep));
    const lines = linesOfFile(place.anchor).slice(0, 2);
    writeFileSync(place.anchor, `${lines.join("\n")}\n`);
    expect(await check()).toMatchObject({ ok: true });
    await expectBroken(keep + 1, /missing: the anchor .*second\.anchor/, [place.anchor, second]);
  });
});

test("a record that is not canonical JSON is found even where its hash is right and nothing is signed yet", async () => {
  const last = rows.at(-1);
  const [plain] = rechained([refused()], rows.length + 1, last?.hash);
  if (plain === undefined) throw new Error("no row");
  for (const [body, reason] of [
    [plain.body.replace("{", "{ "), /not canonical/],
    [plain.body.replace('{"action":', '{"action":"files__delete","action":'), /twice/],
    [plain.body.replace(/"id":(\d+)/, '"id":$1.0'), /not canonical/],
    [plain.body.replace("files__read", "files\\u005f_read"), /not canonical/],
    [`${plain.body} `, /behind its end/],
    [plain.body.replace(/^\{("action":"[^"]*"),(.*)\}$/, "{$2,$1}"), /wrong place/],
    [plain.body.replace('"kind":"refused"', '"kind":{"a":1}'), /not canonical/],
  ] as const) {
    expect(body).not.toBe(plain.body);
    await rewrite(place.home, [...rows, { ...plain, body, hash: recordHash(body) }]);
    await expectBroken(rows.length + 1, reason);
  }
  await rewrite(place.home, [...rows, plain]);
  expect(await check()).toMatchObject({ ok: true });
  expect((await rowsOf(place.home)).length).toBe(rows.length + 1);
});
