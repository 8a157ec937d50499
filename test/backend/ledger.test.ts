import canonicalize from "canonicalize";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { recordHash } from "../../src/backend/ledger/chain.js";
import { type Entry, recordBody, recordKey } from "../../src/backend/ledger/record.js";
import type { SqliteDatabase } from "../../src/backend/store/driver.js";
import type { Backend } from "../../src/client/backend.js";
import { agent, intent, makeHome, open, outcomeOf, person, rawStore } from "../fixtures/backend/store.js";

let place: ReturnType<typeof makeHome>;
let backend: Backend;
let gateway: string;

beforeEach(async () => {
  place = makeHome();
  backend = await open(place);
  gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
});
afterEach(async () => {
  await backend.close();
  place.remove();
});

interface Row {
  id: number;
  agent: string | null;
  key: string | null;
  body: string;
  hash: string;
}

/** Twelve records of several kinds. */
async function fill(): Promise<Row[]> {
  const calls = ["read", "read", "delete", "write"].map((tool) => intent(gateway, tool));
  for (const call of calls) await backend.decide(call);
  const [approval] = await backend.approvals({});
  await backend.decideApproval(approval?.id ?? 0, "denied", person(), "no");
  for (const call of calls.slice(0, 2)) backend.outcome(outcomeOf(call));
  await backend.note({ kind: "refused", reason: "not JSON" });
  await backend.kill(agent, person(), "enough");
  await backend.revive(agent, person(), "");
  await backend.createToken({ name: "bob", role: "approver" }, person());
  const store = await rawStore(place.home);
  const rows = store.prepare("SELECT * FROM ledger ORDER BY id").all() as Row[];
  store.close();
  expect(rows.length).toBe(12);
  return rows;
}

async function tamper(change: (store: SqliteDatabase) => void): Promise<void> {
  const store = await rawStore(place.home);
  store.exec("DROP TRIGGER IF EXISTS ledger_update; DROP TRIGGER IF EXISTS ledger_delete");
  change(store);
  store.close();
}

function setBody(store: SqliteDatabase, id: number, body: string): void {
  store.prepare("UPDATE ledger SET body = ? WHERE id = ?").run(body, id);
}

function put(store: SqliteDatabase, { id, agent: name, key, body, hash }: Row): void {
  store.prepare("INSERT INTO ledger VALUES (?, ?, ?, ?, ?)").run(id, name, key, body, hash);
}

describe("verifying", () => {
  test("accepts what was written, and counts the calls that run", async () => {
    expect(await backend.verify()).toMatchObject({ ok: true, records: 1, open: 0, broken: null });
    const rows = await fill();
    await backend.decide(intent(gateway));
    const report = await backend.verify();
    expect(report).toMatchObject({ ok: true, records: rows.length + 1, open: 1 });
    expect(report.head).toMatch(/^[0-9a-f]{64}$/);
  });

  test("finds a change of any member of any record, and names the record", async () => {
    const rows = await fill();
    for (const row of rows.slice(1, 6)) {
      const body = JSON.parse(row.body) as Record<string, unknown>;
      for (const [member, value] of Object.entries(body)) {
        const changed = typeof value === "number" ? value + 1 : `${String(value)}x`;
        await tamper((store) => setBody(store, row.id, JSON.stringify({ ...body, [member]: changed })));
        expect((await backend.verify()).broken, `${row.id} ${member}`).toMatchObject({ id: row.id });
        await tamper((store) => setBody(store, row.id, row.body));
      }
    }
    expect(await backend.verify()).toMatchObject({ ok: true });
  });

  test.each<[string, (store: SqliteDatabase, rows: Row[]) => unknown, number]>([
    ["a record in the middle is missing", (store) => store.exec("DELETE FROM ledger WHERE id = 5"), 5],
    ["the first record is missing", (store) => store.exec("DELETE FROM ledger WHERE id = 1"), 1],
    [
      "two records are swapped",
      (store, rows) => {
        store.exec("DELETE FROM ledger WHERE id IN (4, 7)");
        const [four, seven] = [rows[3], rows[6]];
        if (four !== undefined) put(store, { ...four, id: 7 });
        if (seven !== undefined) put(store, { ...seven, id: 4 });
      },
      4,
    ],
    [
      "a record is put in, and the others moved up",
      (store, rows) => {
        store.exec("DELETE FROM ledger WHERE id >= 6");
        for (const row of rows.slice(5)) put(store, { ...row, id: row.id + 1 });
        const forged = recordBody(
          { kind: "refused", reason: "forged" },
          6,
          "2026-01-01T00:00:00.000Z",
          rows[4]?.hash ?? "",
        );
        put(store, { id: 6, agent: null, key: null, body: forged, hash: recordHash(forged) });
      },
      7,
    ],
    [
      "a record was rewritten together with its hash",
      (store, rows) => {
        const body = JSON.stringify({ ...JSON.parse(rows[3]?.body ?? ""), decision: "ALLOW" });
        store.prepare("UPDATE ledger SET body = ?, hash = ? WHERE id = 4").run(body, recordHash(body));
      },
      5,
    ],
    ["a hash was changed", (store) => store.exec("UPDATE ledger SET hash = 'x' WHERE id = 8"), 8],
    [
      "the agent column was changed",
      (store) => store.exec("UPDATE ledger SET agent = 'other' WHERE id = 3"),
      3,
    ],
    ["the agent column was emptied", (store) => store.exec("UPDATE ledger SET agent = NULL WHERE id = 3"), 3],
    ["the key column was changed", (store) => store.exec("UPDATE ledger SET key = NULL WHERE id = 3"), 3],
    [
      "a record is not text",
      (store) => store.exec("UPDATE ledger SET body = CAST(body AS BLOB) WHERE id = 6"),
      6,
    ],
    [
      "a record has a number before the first",
      (store, [row]) => row !== undefined && put(store, { ...row, id: -3, key: null }),
      -3,
    ],
  ])("finds that %s", async (_, change, id) => {
    const rows = await fill();
    await tamper((store) => change(store, rows));
    const report = await backend.verify();
    expect(report).toMatchObject({ ok: false, broken: { id } });
    expect(report.broken?.reason).toMatch(/^(it|its|record|a record)/);
  });

  test("reads a long ledger in little memory, and calls are decided in between", async () => {
    const text = JSON.stringify({ text: "x".repeat(500) });
    for (let round = 0; round < 40; round++) {
      await Promise.all(Array.from({ length: 500 }, () => backend.decide(intent(gateway, "read", text))));
    }
    let verified = false;
    const verifying = backend.verify().finally(() => {
      verified = true;
    });
    let decided = 0;
    while (!verified) {
      await backend.decide(intent(gateway));
      decided++;
    }
    expect(await verifying).toMatchObject({ ok: true });
    expect(decided).toBeGreaterThan(2);
  });
});

test("the store refuses to change or delete a record", async () => {
  await fill();
  const store = await rawStore(place.home);
  expect(() => store.exec("UPDATE ledger SET agent = 'x' WHERE id = 2")).toThrow("append-only");
  expect(() => store.exec("DELETE FROM ledger WHERE id = 2")).toThrow("append-only");
  store.close();
});

test("a clock that is set back changes no order", async () => {
  const real = Date.now;
  try {
    await backend.decide(intent(gateway));
    Date.now = () => real() - 3_600_000;
    await backend.decide(intent(gateway));
  } finally {
    Date.now = real;
  }
  await backend.decide(intent(gateway));
  const [first, second, third] = await backend.records({ limit: 3 });
  expect([first?.id, third?.id]).toEqual([(second?.id ?? 0) - 1, (second?.id ?? 0) + 1]);
  expect((second?.at ?? "") < (first?.at ?? "")).toBe(true);
  expect(await backend.verify()).toMatchObject({ ok: true });
});

describe("reading", () => {
  test("gives the newest, oldest of them first, of all agents or of one", async () => {
    await backend.ensureAgent("claude-two");
    for (const name of [agent, "claude-two", agent])
      await backend.decide(intent(gateway, "read", "", { agent: name }));
    expect((await backend.records({ limit: 2 })).map((record) => record.agent)).toEqual([
      "claude-two",
      agent,
    ]);
    expect((await backend.records({ agent: "claude-two", limit: 10 })).map(({ kind }) => kind)).toEqual([
      "agent",
      "decision",
    ]);
  });

  test("goes on behind an id", async () => {
    for (let call = 0; call < 4; call++) await backend.decide(intent(gateway));
    expect((await backend.records({ after: 2, limit: 2 })).map(({ id }) => id)).toEqual([3, 4]);
    expect((await backend.records({ agent, after: 4, limit: 5 })).map(({ id }) => id)).toEqual([5]);
    expect(await backend.records({ after: 5, limit: 5 })).toEqual([]);
  });

  test.each([0, -1, 1.5, Number.NaN])("refuses the limit %s", async (limit) => {
    await expect(backend.records({ limit })).rejects.toMatchObject({ code: "usage" });
  });
});

describe("a record", () => {
  const text = fc.string({ unit: "binary" });
  const optional = (value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
    fc.option(value, { nil: undefined });
  const entries = fc.record(
    {
      kind: fc.constantFrom("decision", "outcome", "approval", "kill"),
      agent: text,
      principal: text,
      server: text,
      tool: text,
      action: text,
      call: text,
      decision: fc.constantFrom("ALLOW", "BLOCK"),
      rule: fc.option(text),
      reason: text,
      revision: text,
      approval: fc.nat(),
      digest: fc.constant("ab12"),
      arguments: text,
      outcome: fc.constantFrom("ok", "error"),
      duration: fc.double({ noNaN: true, noDefaultInfinity: true }),
      gateway: text,
      release: optional(fc.constant(true)),
    },
    { requiredKeys: ["kind"] },
  );

  test("is RFC 8785 canonical JSON, whatever it says", () => {
    fc.assert(
      fc.property(entries, fc.nat(), (entry, id) => {
        const body = recordBody(entry as Entry, id, "2026-01-02T03:04:05.678Z", "ff00");
        const expected = canonicalize({ ...entry, id, at: "2026-01-02T03:04:05.678Z", prev: "ff00" });
        expect(body).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });

  test("has one key for the decision of a call and another for its outcome", () => {
    expect(recordKey({ kind: "decision", call: "a-1" })).toBe("a-1");
    expect(recordKey({ kind: "outcome", call: "a-1" })).toBe(" a-1");
    expect(recordKey({ kind: "decision", call: "a-1", release: true })).toBeNull();
    expect(recordKey({ kind: "kill" })).toBeNull();
  });
});
