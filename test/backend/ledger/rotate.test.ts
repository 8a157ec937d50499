import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type RotateOptions, rotate, type Segment } from "../../../src/backend/ledger/rotate.js";
import { fileHash } from "../../../src/backend/ledger/segments.js";
import { Signer } from "../../../src/backend/ledger/signer.js";
import { verify } from "../../../src/backend/ledger/verify.js";
import { readLedgerOf, writeLedgerOf } from "../../../src/backend/open-ledger.js";
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
  rewrite,
  rowsOf,
  runCalls,
} from "../../fixtures/backend/ledger.js";
import { agent, intent, open, outcomeOf, person, rawStore } from "../../fixtures/backend/store.js";

let place: ReturnType<typeof makeLedgerHome>;
let segments: string;
let rows: LedgerRow[];
const log = createLogger("silent");

beforeEach(async () => {
  place = makeLedgerHome(5);
  segments = join(place.home, "segments");
  rows = await filledLedger(place, 24);
});
afterEach(() => place.remove());

async function rotated(before: RotateOptions["before"]): Promise<Segment[]> {
  return writeLedgerOf({ home: place.home, log }, async (parts) => {
    const found: Segment[] = [];
    for await (const segment of rotate(parts, { before, folder: segments, by: person() }))
      found.push(segment);
    return found;
  });
}

async function check(folder: string | null = null): Promise<VerifyReport> {
  return readLedgerOf({ home: place.home, log }, ({ store, signer }) =>
    verify(store, { keys: signer.trusted(), anchors: [place.anchor], unsigned: 5, segments: folder }),
  );
}

/** The newest checkpoint before this record. */
const checkpointBefore = (id: number): number =>
  rows.findLast((row) => row.id < id && kindOf(row) === "checkpoint")?.id ?? 0;

describe("a rotation", () => {
  test("moves the oldest records up to a checkpoint into a file, and says so in a signed record", async () => {
    const last = checkpointBefore(30);
    const [segment, ...more] = await rotated({ id: 30 });
    expect(more).toEqual([]);
    const name = `ledger-000000000001-${String(last).padStart(12, "0")}.jsonl`;
    expect(segment).toEqual({ path: join(segments, name), first: 1, last });
    expect(readdirSync(segments)).toEqual([name]);
    if (process.platform !== "win32") expect(statSync(join(segments, name)).mode & 0o777).toBe(0o600);
    expect(linesOfFile(join(segments, name)).slice(1, -1)).toEqual(
      rows.slice(0, last).map(({ body }) => body),
    );

    const left = await rowsOf(place.home);
    expect(left[0]).toEqual(rows[last]);
    expect(left.slice(0, rows.length - last)).toEqual(rows.slice(last));
    const [said, checkpoint, ...rest] = left.slice(rows.length - last);
    expect(rest).toEqual([]);
    expect(JSON.parse(said?.body ?? "")).toMatchObject({
      kind: "rotation",
      principal: "os:ada",
      first_id: 1,
      last_id: last,
      last_hash: rows[last - 1]?.hash,
      segment: name,
      segment_hash: await fileHash(join(segments, name)),
      key_id: new Signer(place.home).keyId,
    });
    expect(checkpoint?.body).toContain('"kind":"checkpoint"');
  });

  test("leaves a ledger that verifies: from what the rotation says, and with the segments from the beginning", async () => {
    await rotated({ id: 12 });
    await rotated({ id: 30 });
    expect(readdirSync(segments).length).toBe(2);
    const without = await check();
    expect(without).toMatchObject({ ok: true, evidence: { first: checkpointBefore(30) + 1 } });
    expect(without.evidence?.notes).toEqual([
      expect.stringContaining("are in segments, which were not given"),
    ]);
    const whole = await check(segments);
    expect(whole).toMatchObject({ ok: true, evidence: { first: 1, notes: [] } });
    expect(whole.records).toBe((await rowsOf(place.home)).at(-1)?.id);
    const backend = await open(place);
    expect(await backend.verify()).toMatchObject({ ok: true });
    await backend.close();
  });

  test("takes records of an age, and never the newest", async () => {
    expect(await rotated({ time: Date.now() - 60_000 })).toEqual([]);
    expect(await rotated({ id: 3 })).toEqual([]);
    expect((await rowsOf(place.home)).length).toBe(rows.length);
    const [segment] = await rotated({ time: Date.now() + 60_000 });
    expect(segment?.last).toBeGreaterThan(20);
    expect(segment?.last).toBeLessThan(rows.length);
    expect(await check(segments)).toMatchObject({ ok: true });
  });

  test("does not take the records of a call that is open", async () => {
    const backend = await open(place);
    const gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
    const held = intent(gateway);
    const { record } = await backend.decide(held);
    await runCalls(backend, 20);
    const [segment] = await rotated({ id: 1_000 });
    expect(segment?.last).toBeLessThan(record);
    backend.outcome(outcomeOf(held));
    await backend.close();
    await rotated({ id: 1_000 });
    expect(await check(segments)).toMatchObject({ ok: true, open: 0 });
  });

  test("leaves everything else as it was: calls, approvals, kills, the log, the next rotation", async () => {
    const before = await open(place);
    const gateway = await before.attach({ pid: process.pid, label: "wrap files", address: null });
    const held = intent(gateway, "write");
    const { approval } = await before.decide(held);
    await runCalls(before, 10);
    await before.close();
    await rotated({ id: rows.length });

    const backend = await open(place);
    expect((await backend.decideApproval(approval?.id ?? 0, "approved", person(), "")).status).toBe(
      "approved",
    );
    await runCalls(backend, 10);
    const records = await backend.records({ limit: 1_000 });
    expect(records[0]?.id).toBeGreaterThan(1);
    expect(await backend.records({ limit: 3, after: 1 })).toEqual(records.slice(0, 3));
    await backend.kill(agent, person(), "enough");
    expect(await backend.decide(intent(gateway))).toMatchObject({ decision: "KILLED" });
    expect(await backend.verify()).toMatchObject({ ok: true });
    await backend.close();
    await rotated({ id: records.at(-1)?.id ?? 0 });
    expect(await check(segments)).toMatchObject({ ok: true });
    const store = await rawStore(place.home);
    expect(() => store.exec("DELETE FROM ledger")).toThrow("append-only");
    expect(() => store.exec("UPDATE ledger SET agent = 'x'")).toThrow("append-only");
    store.close();
  });

  test("does not let a call be decided twice: one whose record went is refused, its neighbours are not", async () => {
    const before = await open(place);
    const gateway = await before.attach({ pid: process.pid, label: "wrap files", address: null });
    const old = intent(gateway);
    await before.decide(old);
    before.outcome(outcomeOf(old));
    await runCalls(before, 10);
    await before.close();
    const [segment] = await rotated({ id: 1_000 });
    expect(readFileSync(segment?.path ?? "", "utf8")).toContain(old.call);

    const backend = await open(place);
    const fresh = Array.from({ length: 20 }, () => intent(gateway));
    const verdicts = await Promise.all(
      [...fresh.slice(0, 10), old, ...fresh.slice(10)].map((call) => backend.decide(call)),
    );
    expect(verdicts.map(({ decision }) => decision)).toEqual([
      ...Array.from({ length: 10 }, () => "ALLOW"),
      "BLOCK",
      ...Array.from({ length: 10 }, () => "ALLOW"),
    ]);
    expect(verdicts[10]?.reason).toContain("was decided in a record that was rotated away");
    expect(await backend.release(old, null)).toMatchObject({ decision: "BLOCK" });
    // A new id is a new call.
    expect(await backend.decide(intent(gateway))).toMatchObject({ decision: "ALLOW" });
    await backend.close();
    expect(await check(segments)).toMatchObject({ ok: true });
  });

  test("of a ledger that does not verify moves nothing", async () => {
    await damage(place.home, (store) =>
      store.exec("UPDATE ledger SET body = replace(body, 'ALLOW', 'BLOCK') WHERE id = 2"),
    );
    const now = await rowsOf(place.home);
    await expect(rotated({ id: 30 })).rejects.toMatchObject({ code: "ledger_broken" });
    expect(await rowsOf(place.home)).toEqual(now);
    expect(readdirSync(segments)).toEqual([]);
    await rewrite(place.home, rows);
    expect((await rotated({ id: 30 })).length).toBe(1);
  });
});

describe("verification finds", () => {
  test("that the oldest records are gone and no rotation says so", async () => {
    const last = checkpointBefore(30);
    await damage(place.home, (store) => store.exec(`DELETE FROM ledger WHERE id <= ${last}`));
    expect((await check()).broken).toMatchObject({
      id: 1,
      reason: expect.stringContaining("no rotation explains it"),
    });
  });

  test("a rotation that somebody without the key has written", async () => {
    const last = checkpointBefore(30);
    await rotated({ id: 12 });
    const left = await rowsOf(place.home);
    const honest = left.find((row) => kindOf(row) === "rotation");
    const forged = rechained(
      [
        (honest?.body ?? "")
          .replace(/"last_id":\d+/, `"last_id":${last}`)
          .replace(/"last_hash":"[0-9a-f]+"/, `"last_hash":"${rows[last - 1]?.hash}"`),
      ],
      (left.at(-1)?.id ?? 0) + 1,
      left.at(-1)?.hash,
    );
    await rewrite(place.home, [...left.filter(({ id }) => id > last), ...forged]);
    await damage(place.home, (store) => {
      store.exec(`INSERT INTO signed_records VALUES (${forged[0]?.id}, 'rotation', 100000)`);
    });
    const { ok, broken } = await check();
    expect({ ok, id: broken?.id }).toEqual({ ok: false, id: 1 });
    expect(broken?.reason).toMatch(
      /the rotation of record \d+ that explains it has a signature that the key/,
    );
  });

  test("more records gone than the rotation says", async () => {
    await rotated({ id: 12 });
    const first = (await rowsOf(place.home))[0]?.id;
    await damage(place.home, (store) => store.exec(`DELETE FROM ledger WHERE id = ${first}`));
    expect(await check()).toMatchObject({ ok: false, broken: { id: 1 } });
  });

  test.each<[string, (path: string, lines: string[]) => void, RegExp]>([
    ["is missing", (path) => renameSync(path, `${path}.away`), /no segment in .* begins with it/],
    [
      "was changed",
      (path, lines) =>
        writeFileSync(path, `${lines.join("\n").replace('"decision":"ALLOW"', '"decision":"BLOCK"')}\n`),
      /does not continue .*\(in ledger-/,
    ],
    ["was cut", (path, lines) => writeFileSync(path, `${lines.slice(0, 5).join("\n")}\n`), /cut off/],
    [
      "says something else of itself",
      (path, lines) =>
        writeFileSync(
          path,
          `${lines.with(0, (lines[0] ?? "").replace(/"exported_at":"2/, '"exported_at":"1')).join("\n")}\n`,
        ),
      /is not the file that was written/,
    ],
  ])("that a segment %s", async (_, change, reason) => {
    const [segment] = await rotated({ id: 30 });
    const path = segment?.path ?? "";
    change(path, linesOfFile(path));
    const { ok, broken } = await check(segments);
    expect(ok).toBe(false);
    expect(broken?.reason).toMatch(reason);
    expect(await check(), "the store alone").toMatchObject({ ok: true });
  });

  test("segments that are whole, wherever they were taken to", async () => {
    const [segment] = await rotated({ id: 30 });
    const elsewhere = join(place.home, "elsewhere");
    mkdirSync(elsewhere);
    copyFileSync(segment?.path ?? "", join(elsewhere, (segment?.path ?? "").split("/").at(-1) ?? ""));
    writeFileSync(join(elsewhere, "README"), "not one");
    expect(await check(elsewhere)).toMatchObject({ ok: true });
    expect(readFileSync(segment?.path ?? "", "utf8")).toContain('"export"');
  });
});
