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
import type { Statement, Store, Value } from "../../../src/backend/store/store.js";
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

async function check(
  folder: string | null = null,
  anchors: readonly string[] | null = [place.anchor],
): Promise<VerifyReport> {
  return readLedgerOf({ home: place.home, log }, ({ store, signer }) =>
    verify(store, { keys: signer.trusted(), anchors, unsigned: 5, segments: folder }),
  );
}

function prevOf(body = "{}"): string {
  return String((JSON.parse(body) as { prev?: string }).prev);
}

/** The newest checkpoint before this record. */
const checkpointBefore = (id: number): number =>
  rows.findLast((row) => row.id < id && kindOf(row) === "checkpoint")?.id ?? 0;

describe("a rotation", () => {
  test("moves the oldest records up to a checkpoint into a file, and says so in a signed record", async () => {
    const last = checkpointBefore(30);
    const [segment, ...more] = await rotated({ id: 30 });
    expect(more).toEqual([]);
    const [name = ""] = readdirSync(segments);
    expect(name).toMatch(
      new RegExp(`^ledger-000000000001-${String(last).padStart(12, "0")}-[0-9a-f]{8}\\.jsonl$`),
    );
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

  test("that fails leaves no file; the next one moves what it would have, and all verifies", async () => {
    await damage(place.home, (store) =>
      store.exec("CREATE TRIGGER fault BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'no'); END"),
    );
    await expect(rotated({ id: 30 })).rejects.toThrow();
    expect(readdirSync(segments)).toEqual([]);
    expect(await check(segments)).toMatchObject({ ok: true, evidence: { first: 1 } });
    await damage(place.home, (store) => store.exec("DROP TRIGGER fault"));
    expect((await rotated({ id: 30 })).length).toBe(1);
    expect(await check(segments)).toMatchObject({ ok: true, evidence: { first: 1, notes: [] } });
  });

  test("that was killed before its commit leaves a file that nobody reads, however far it went", async () => {
    mkdirSync(segments);
    const orphan = "ledger-000000000001-000000000012-00000000.jsonl";
    writeFileSync(join(segments, orphan), "what was written so far");
    await rotated({ id: 12 });
    await rotated({ id: 30 });
    const { ok, evidence } = await check(segments);
    expect({ ok, first: evidence?.first }).toEqual({ ok: true, first: 1 });
    expect(evidence?.notes).toEqual([`No rotation record names the segment ${orphan}: it was not read.`]);
  });

  test("at the same time as another moves every record once", async () => {
    const moved = await Promise.all([rotated({ id: 30 }), rotated({ id: 30 }), rotated({ id: 12 })]);
    const found = moved.flat().toSorted((a, b) => a.first - b.first);
    expect(found[0]?.first).toBe(1);
    for (const [index, { first }] of found.entries())
      if (index > 0) expect(first).toBe((found[index - 1]?.last ?? 0) + 1);
    expect(readdirSync(segments).length).toBe(found.length);
    expect(await check(segments)).toMatchObject({ ok: true, evidence: { first: 1, notes: [] } });
  });

  test("that another one overtakes when its file is written moves nothing twice, and leaves no file", async () => {
    const found = await writeLedgerOf({ home: place.home, log }, async (parts) => {
      let overtaken = false;
      const slow: typeof parts = {
        ...parts,
        commit: Object.assign(Object.create(parts.commit) as typeof parts.commit, {
          write: async (unit: never) => {
            if (!overtaken && readdirSync(segments).length > 0) {
              overtaken = true;
              await rotated({ id: 12 });
            }
            return parts.commit.write(unit);
          },
        }),
      };
      const own: Segment[] = [];
      for await (const segment of rotate(slow, { before: { id: 30 }, folder: segments, by: person() }))
        own.push(segment);
      expect(overtaken).toBe(true);
      return own;
    });
    expect(found.map(({ first }) => first)).toEqual([checkpointBefore(12) + 1]);
    expect(readdirSync(segments).length).toBe(2);
    expect(await check(segments)).toMatchObject({ ok: true, evidence: { first: 1, notes: [] } });
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

  test("that records behind a rotation were written by somebody without the key", async () => {
    await rotated({ id: 30 });
    const left = await rowsOf(place.home);
    const said = left.findIndex((row) => kindOf(row) === "rotation");
    const [first] = left;
    // What the rotation signs is believed, so the chain goes on from there, with no signature in it.
    const body = (left.find((row) => kindOf(row) === "outcome")?.body ?? "").replace(
      '"outcome"',
      '"refused"',
    );
    const forged = rechained(
      Array.from({ length: 40 }, () => body),
      first?.id,
      prevOf(first?.body),
    );
    await rewrite(place.home, forged);
    const honest = left[said];
    await damage(place.home, (store) => {
      store.exec("DELETE FROM signed_records");
      store
        .prepare("INSERT INTO ledger (id, agent, key, body, hash) VALUES (?, null, null, ?, ?)")
        .run(100_000, honest?.body ?? "", honest?.hash ?? "");
      store.exec("INSERT INTO signed_records VALUES (100000, 'rotation', 100000)");
    });
    const { ok, broken } = await check(null, null);
    expect({ ok, id: broken?.id }).toEqual({ ok: false, id: (first?.id ?? 0) + 5 });
    expect(broken?.reason).toContain("should be a checkpoint");
  });

  test("a rotation record that cannot be read, and names it", async () => {
    await rotated({ id: 30 });
    const left = await rowsOf(place.home);
    const said = left.find((row) => kindOf(row) === "rotation");
    for (const body of ["gone", "null", "{}", (said?.body ?? "").replace('"last_id":', '"last":')]) {
      await damage(place.home, (store) =>
        store.prepare("UPDATE ledger SET body = ? WHERE id = ?").run(body, said?.id ?? 0),
      );
      for (const folder of [null, segments]) {
        const { ok, broken } = await check(folder);
        expect({ ok, id: broken?.id }).toEqual({ ok: false, id: 1 });
        expect(broken?.reason).toContain(`what record ${said?.id} says of one cannot be read`);
      }
      await expect(rotated({ id: 1_000 })).rejects.toMatchObject({ code: "ledger_broken" });
    }
    await rewrite(place.home, left);
    expect(await check(segments)).toMatchObject({ ok: true });
  });

  test("nothing where a rotation comes in between", async () => {
    const paged = "SELECT id, agent, key, body, hash";
    for (const folder of [null, segments]) {
      let overtaken = false;
      const report = await readLedgerOf({ home: place.home, log }, ({ store, signer }) => {
        const prepare = (sql: string): Statement => {
          const statement = store.reader.prepare(sql);
          const all = async (...values: Value[]): Promise<unknown[]> => {
            if (sql.startsWith(paged) && !overtaken) {
              overtaken = true;
              expect((await rotated({ id: folder === null ? 12 : 30 })).length).toBe(1);
            }
            return statement.all(...values);
          };
          return { ...statement, all };
        };
        const slow = Object.assign(Object.create(store) as Store, { reader: { prepare } });
        return verify(slow, {
          keys: signer.trusted(),
          anchors: [place.anchor],
          unsigned: 5,
          segments: folder,
        });
      });
      expect(overtaken).toBe(true);
      expect(report.broken).toBeNull();
      expect(report.ok).toBe(true);
    }
  });

  test("more records gone than the rotation says", async () => {
    await rotated({ id: 12 });
    const first = (await rowsOf(place.home))[0]?.id;
    await damage(place.home, (store) => store.exec(`DELETE FROM ledger WHERE id = ${first}`));
    expect(await check()).toMatchObject({ ok: false, broken: { id: 1 } });
  });

  test.each<[string, (path: string, lines: string[]) => void, RegExp]>([
    [
      "is missing",
      (path) => renameSync(path, `${path}.away`),
      /the segment ledger-.* is not in .*: the records 1 to \d+ are missing/,
    ],
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
