import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Backend, BackendEvent, Verdict } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, open, person, waitFor } from "../fixtures/backend/store.js";

/** Not of the one that floods. */
const other = "claude-other";
const MiB = 1024 * 1024;

interface CountedRow {
  readonly agent: string;
  /** Text, as some drivers give it. */
  readonly count: number | string;
  readonly bytes: number | string;
}

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let backend: Backend;
  let gateway: string;
  let calls = 0;

  beforeEach(async () => {
    place = await make();
    backend = await open(place);
    await backend.ensureAgent(other);
    gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
  });

  function hold(of = agent): Promise<Verdict> {
    return backend.decide(intent(gateway, "write", `{"n":${++calls}}`, { agent: of }));
  }

  /** Copies an open approval, as if as many calls were held. */
  async function flood(id: number, copies: number, over = ""): Promise<void> {
    const rest =
      "agent, principal, server, tool, action, definition, arguments, redacted, status, reason, created_at, size";
    await place.sql(
      `INSERT INTO approvals (id, digest, ${rest}, expires_at)
       WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${copies})
       SELECT 1000000 + n, digest || n, ${rest}, ${over || "expires_at"} FROM approvals, numbers WHERE id = ${id}`,
    );
    await recount();
  }

  async function recount(): Promise<void> {
    await place.sql("DELETE FROM open_approvals");
    await place.sql(`INSERT INTO open_approvals (agent, count, bytes) SELECT agent, count(*), sum(size)
      FROM approvals WHERE status IN ('pending', 'approved') GROUP BY agent`);
    await place.sql(`INSERT INTO open_approvals (agent, count, bytes)
      SELECT '', coalesce(sum(count), 0), coalesce(sum(bytes), 0) FROM open_approvals`);
  }

  /** Open approvals by agent, those of all under no name; the bytes have to add up. */
  async function counted(): Promise<unknown> {
    const rows = (await place.sql("SELECT agent, count, bytes FROM open_approvals")) as CountedRow[];
    const found = (await place.sql(
      "SELECT agent, length(arguments) + length(redacted) AS size FROM approvals WHERE status IN ('pending', 'approved')",
    )) as Array<{ agent: string; size: number | string }>;
    for (const { agent: whose, bytes } of rows) {
      const own = found.filter((row) => whose === "" || row.agent === whose);
      // A text that is sealed is longer, and never shorter.
      const most = own.reduce((sum, { size }) => sum + Number(size), 0);
      expect(Number(bytes)).toBeLessThanOrEqual(most);
      expect(Number(bytes) > 0).toBe(own.length > 0);
    }
    return Object.fromEntries(rows.map((row) => [row.agent, Number(row.count)]));
  }

  async function statuses(): Promise<unknown> {
    const rows = (await place.sql(
      "SELECT status, count(*) AS count FROM approvals GROUP BY status ORDER BY status",
    )) as Array<Record<string, unknown>>;
    return Object.fromEntries(rows.map((row) => [row.status, Number(row.count)]));
  }

  /** How long the calls of another agent take at most, asked at another process's backend while this goes on. */
  async function longestCall(during: Promise<unknown>): Promise<number> {
    const beside = await open(place);
    const from = await beside.attach({ pid: process.pid, label: "gateway", address: null });
    let going = true;
    const end = (): void => {
      going = false;
    };
    during.then(end, end);
    let longest = 0;
    while (going) {
      const began = performance.now();
      const { decision } = await beside.decide(intent(from, "read", "{}", { agent: other }));
      longest = Math.max(longest, performance.now() - began);
      expect(decision).toBe("ALLOW");
    }
    await beside.close();
    return longest;
  }

  const idOf = (verdict: Verdict): number => verdict.approval?.id ?? 0;

  test("an agent that floods approvals is refused at 1000, keeps the oldest, and is held again once there is room", async () => {
    const first = idOf(await hold());
    await flood(first, 998);
    const last = await hold();
    expect(last.decision).toBe("REVIEW");

    const refused = await hold();
    expect(refused).toMatchObject({
      decision: "BLOCK",
      reason: expect.stringContaining("1000 approvals open"),
    });
    expect(refused.approval).toBeUndefined();
    const [record] = await backend.records({ limit: 1 });
    expect(record).toMatchObject({ id: refused.record, decision: "BLOCK", reason: refused.reason });
    expect(await backend.approval(first)).toMatchObject({ status: "pending" });
    expect(await statuses()).toEqual({ pending: 1_000 });
    // Another's are its own, and so is what needs no approval.
    expect((await hold(other)).decision).toBe("REVIEW");
    expect((await backend.decide(intent(gateway))).decision).toBe("ALLOW");

    await backend.decideApproval(first, "denied", person(), "");
    expect((await hold()).decision).toBe("REVIEW");
    expect((await hold()).decision).toBe("BLOCK");
  });

  test("a repeat of a call that has its approval needs no room", async () => {
    const call = intent(gateway, "write");
    const id = idOf(await backend.decide(call));
    await backend.detachWaiter(id, call.call);
    await flood(id, 999);
    expect((await hold()).decision).toBe("BLOCK");
    expect(await backend.decide(intent(gateway, "write"))).toMatchObject({
      decision: "REVIEW",
      approval: { id },
    });
  });

  test.each([
    ["the arguments of one agent", agent, "bytes", 64 * MiB, "64 MiB of arguments"],
    ["the approvals of all", "", "count", 10_000, "approvals open"],
    ["the arguments of all", "", "bytes", 1024 * MiB, "1024 MiB of arguments"],
  ])(
    "%s are bounded, and calls are held again once there is room",
    async (_what, whose, column, most, said) => {
      await hold();
      const full = `UPDATE open_approvals SET ${column} = ${column} + ? WHERE agent = ?`;
      await place.sql(full, most, whose);
      expect(await hold()).toMatchObject({ decision: "BLOCK", reason: expect.stringContaining(said) });
      expect((await hold(other)).decision).toBe(whose === "" ? "BLOCK" : "REVIEW");
      await place.sql(full, -most, whose);
      expect((await hold()).decision).toBe("REVIEW");
      expect((await hold(other)).decision).toBe("REVIEW");
    },
  );

  test("every end of an approval makes room", async () => {
    const call = intent(gateway, "write", `{"text":"${"a".repeat(100_000)}"}`);
    const used = idOf(await backend.decide(call));
    const [{ bytes }] = (await place.sql("SELECT bytes FROM open_approvals WHERE agent = ?", agent)) as [
      CountedRow,
    ];
    expect(Number(bytes)).toBeGreaterThanOrEqual(100_000);
    await backend.decideApproval(used, "approved", person(), "");
    expect(await counted()).toEqual({ "": 1, [agent]: 1 });
    await backend.release(call, used);
    expect(await counted()).toEqual({ "": 0, [agent]: 0 });
    await backend.decideApproval(idOf(await hold()), "denied", person(), "");
    expect(await counted()).toEqual({ "": 0, [agent]: 0 });
    const soon = idOf(await backend.decide(intent(gateway, "soon")));
    await waitFor(async () => (await backend.approval(soon)).status === "expired", "the expiry");
    expect(await counted()).toEqual({ "": 0, [agent]: 0 });
    await hold();
    await hold(other);
    expect(await counted()).toEqual({ "": 2, [agent]: 1, [other]: 1 });
    await backend.kill(agent, person(), "");
    expect(await counted()).toEqual({ "": 1, [agent]: 0, [other]: 1 });
  });

  test("a kill of 2000 held calls is acknowledged soon, voids them all, and holds nobody else up", async () => {
    await flood(idOf(await hold()), 2_000);
    const told = new Set<number>();
    backend.subscribe((event: BackendEvent) => {
      if (event.kind === "approval" && event.status === "void") told.add(event.id);
    });
    const began = performance.now();
    let took = 0;
    const killing = backend.kill(agent, person("os:eve"), "").then((receipt) => {
      took = performance.now() - began;
      return receipt;
    });
    expect(await longestCall(killing)).toBeLessThan(500);
    expect(await killing).toMatchObject({ voided: 2_001 });
    // And a lease of 200 ms.
    expect(took).toBeLessThan(1_200);
    await waitFor(async () => ((await statuses()) as { void: number }).void === 2_001, "the end of all");
    expect(await counted()).toEqual({ "": 0, [agent]: 0 });
    await waitFor(() => told.size === 2_001, "the news of every approval");
    const records = (await backend.records({ limit: 10_000, agent })).filter(
      ({ kind }) => kind === "approval",
    );
    expect(records.length).toBe(2_001);
    expect(records[0]).toMatchObject({ decision: "void", reason: `${agent} was killed by os:eve` });
    expect(await backend.verify()).toMatchObject({ ok: true });
  }, 20_000);

  test("2000 approvals that expire at once hold nobody up", async () => {
    const id = idOf(await hold());
    const later = Date.now() + 500;
    await flood(id, 2_000, String(later));
    const expired = waitFor(
      async () => ((await statuses()) as Record<string, number>).expired === 2_000,
      "the expiry",
      10_000,
    );
    expect(await longestCall(expired)).toBeLessThan(500);
    expect(await statuses()).toEqual({ expired: 2_000, pending: 1 });
    expect(await counted()).toEqual({ "": 1, [agent]: 1 });
  }, 20_000);

  describe("where whoever killed an agent died before it came to its approvals", () => {
    let id: number;
    beforeEach(async () => {
      id = idOf(await hold());
      await flood(id, 300);
      await place.sql(
        "UPDATE agents SET status = 'KILLED', killed_by = 'os:eve', killed_at = 1, killed_reason = '', kill_event = 0 WHERE name = ?",
        agent,
      );
    });

    test("the next one voids them", async () => {
      await waitFor(async () => ((await statuses()) as { void?: number }).void === 301, "the end", 5_000);
      expect(await backend.approval(id)).toMatchObject({ decidedReason: `${agent} was killed by os:eve` });
      expect(await counted()).toEqual({ "": 0, [agent]: 0 });
    });

    test("nobody decides them, and a revive comes after their end", async () => {
      await expect(backend.decideApproval(id, "approved", person(), "")).rejects.toMatchObject({
        code: "approval_settled",
        message: expect.stringContaining("void"),
      });
      await backend.revive(agent, person(), "");
      expect(await statuses()).toEqual({ void: 301 });
      const next = await hold();
      expect(next.decision).toBe("REVIEW");
      expect(await backend.decideApproval(idOf(next), "approved", person(), "")).toMatchObject({
        status: "approved",
      });
    });
  });
});
