import canonicalize from "canonicalize";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { recordHash } from "../../src/backend/ledger/chain.js";
import { type Entry, recordBody, recordKey } from "../../src/backend/ledger/record.js";
import type { Backend } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, open, outcomeOf, person } from "../fixtures/backend/store.js";

describe.each(stores)("$name:", ({ name: store, make }) => {
  let place: Place;
  let backend: Backend;
  let gateway: string;

  beforeEach(async () => {
    place = await make();
    backend = await open(place);
    gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
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
    const rows = (await place.sql("SELECT * FROM ledger ORDER BY id")) as Row[];
    expect(rows.length).toBe(12);
    return rows;
  }

  /** Each of them with a place, whose ledger was unlocked. */
  type Damage = (sql: Place["sql"], rows: Row[]) => Promise<unknown>;

  async function tamper(damage: Damage, rows: Row[] = []): Promise<void> {
    await place.unlock();
    await damage((text, ...values) => place.sql(text, ...values), rows);
  }

  function put(sql: Place["sql"], { id, agent: name, key, body, hash }: Row): Promise<unknown> {
    return sql(
      "INSERT INTO ledger (id, agent, key, body, hash) VALUES (?, ?, ?, ?, ?)",
      id,
      name,
      key,
      body,
      hash,
    );
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
      const setBody = "UPDATE ledger SET body = ? WHERE id = ?";
      for (const row of rows.slice(1, 6)) {
        const body = JSON.parse(row.body) as Record<string, unknown>;
        for (const [member, value] of Object.entries(body)) {
          const changed = typeof value === "number" ? value + 1 : `${String(value)}x`;
          await tamper((sql) => sql(setBody, JSON.stringify({ ...body, [member]: changed }), row.id));
          expect((await backend.verify()).broken, `${row.id} ${member}`).toMatchObject({ id: row.id });
          await tamper((sql) => sql(setBody, row.body, row.id));
        }
      }
      expect(await backend.verify()).toMatchObject({ ok: true });
    });

    const notText: [string, Damage, number] = [
      "a record is not text",
      (sql) => sql("UPDATE ledger SET body = CAST(body AS BLOB) WHERE id = 6"),
      6,
    ];
    test.each<[string, Damage, number]>([
      ["a record in the middle is missing", (sql) => sql("DELETE FROM ledger WHERE id = 5"), 5],
      ["the first record is missing", (sql) => sql("DELETE FROM ledger WHERE id = 1"), 1],
      [
        "two records are swapped",
        async (sql, rows) => {
          await sql("DELETE FROM ledger WHERE id IN (4, 7)");
          const [four, seven] = [rows[3], rows[6]];
          if (four !== undefined) await put(sql, { ...four, id: 7 });
          if (seven !== undefined) await put(sql, { ...seven, id: 4 });
        },
        4,
      ],
      [
        "a record is put in, and the others moved up",
        async (sql, rows) => {
          await sql("DELETE FROM ledger WHERE id >= 6");
          for (const row of rows.slice(5)) await put(sql, { ...row, id: row.id + 1 });
          const forged = recordBody(
            { kind: "refused", reason: "forged" },
            6,
            "2026-01-01T00:00:00.000Z",
            rows[4]?.hash ?? "",
          );
          await put(sql, { id: 6, agent: null, key: null, body: forged, hash: recordHash(forged) });
        },
        7,
      ],
      [
        "a record was rewritten together with its hash",
        async (sql, rows) => {
          const body = JSON.stringify({ ...JSON.parse(rows[3]?.body ?? ""), decision: "ALLOW" });
          await sql("UPDATE ledger SET body = ?, hash = ? WHERE id = 4", body, recordHash(body));
        },
        5,
      ],
      ["a hash was changed", (sql) => sql("UPDATE ledger SET hash = 'x' WHERE id = 8"), 8],
      ["the agent column was changed", (sql) => sql("UPDATE ledger SET agent = 'other' WHERE id = 3"), 3],
      ["the agent column was emptied", (sql) => sql("UPDATE ledger SET agent = NULL WHERE id = 3"), 3],
      ["the key column was changed", (sql) => sql("UPDATE ledger SET key = NULL WHERE id = 3"), 3],
      [
        "a record has a number before the first",
        async (sql, [row]) => row !== undefined && put(sql, { ...row, id: -3, key: null }),
        -3,
      ],
      // No column of PostgreSQL takes bytes for text.
      ...(store === "SQLite" ? [notText] : []),
    ])("finds that %s", async (_, damage, id) => {
      const rows = await fill();
      await tamper(damage, rows);
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
    await expect(place.sql("UPDATE ledger SET agent = 'x' WHERE id = 2")).rejects.toThrow("append-only");
    await expect(place.sql("DELETE FROM ledger WHERE id = 2")).rejects.toThrow("append-only");
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
    // PostgreSQL's own clock was not: that of a machine counts only where there is one machine.
    expect((second?.at ?? "") < (first?.at ?? "")).toBe(store === "SQLite");
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
});
