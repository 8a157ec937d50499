import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, caller, intent, open, outcomeOf, person } from "../fixtures/backend/store.js";

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let backend: Service;
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

  describe("a decision", () => {
    test("allows what the policy allows, for the time of a lease, and is durable when it is heard", async () => {
      const before = performance.now();
      const call = intent(gateway);
      const verdict = await backend.decide(call);
      const [row] = (await place.sql("SELECT body FROM ledger WHERE id = ?", verdict.record)) as Array<{
        body: string;
      }>;
      expect(verdict).toMatchObject({
        call: call.call,
        decision: "ALLOW",
        rule: "claude.yaml:5 allow files__read",
      });
      expect(verdict.leaseUntil).toBeGreaterThan(before + 199);
      expect(verdict.leaseUntil).toBeLessThan(performance.now() + 200);
      expect(JSON.parse(row?.body ?? "")).toMatchObject({
        id: verdict.record,
        kind: "decision",
        agent,
        principal: caller,
        server: "files",
        tool: "read",
        action: "files__read",
        call: call.call,
        gateway,
        decision: "ALLOW",
        rule: "claude.yaml:5 allow files__read",
        revision: verdict.revision,
        arguments: '{"path":"/srv/a.txt"}',
        digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      });
    });

    test("blocks what the policy blocks, and gives no lease", async () => {
      const verdict = await backend.decide(intent(gateway, "delete"));
      expect(verdict.decision).toBe("BLOCK");
      expect(verdict.leaseUntil).toBeUndefined();
    });

    test("blocks an agent that nobody has made known", async () => {
      const verdict = await backend.decide(intent(gateway, "read", "{}", { agent: "claude-unknown" }));
      expect(verdict.decision).toBe("BLOCK");
      expect(verdict.reason).toContain("claude-unknown is not known");
    });

    test("of a killed agent is KILLED, says who and why, and is recorded", async () => {
      await backend.kill(agent, person(), "it deletes");
      const verdict = await backend.decide(intent(gateway));
      expect(verdict).toMatchObject({
        decision: "KILLED",
        reason: expect.stringMatching(/os:ada at .*: it deletes/),
      });
      const [record] = await backend.records({ limit: 1 });
      expect(record).toMatchObject({ id: verdict.record, decision: "KILLED" });
    });

    test.each(["a\u0000b", "re\u200bad", "\u001b[2J", "", "x".repeat(300)])(
      "about a tool with the name %j is BLOCK, and leaves a record that verifies",
      async (tool) => {
        const verdict = await backend.decide(intent(gateway, tool));
        expect(verdict.decision).toBe("BLOCK");
        expect((await backend.records({ limit: 1 }))[0]).toMatchObject({
          id: verdict.record,
        });
        expect(await backend.verify()).toMatchObject({ ok: true });
      },
    );

    test("about arguments that are not JSON is BLOCK", async () => {
      const verdict = await backend.decide({ ...intent(gateway), arguments: '{"a":', parsed: {} });
      expect(verdict.decision).toBe("BLOCK");
    });

    test.each(["", " x", "a\nb", "e\u0301"])(
      "is refused where the principal's name is %j",
      async (principal) => {
        await expect(backend.decide(intent(gateway, "read", "{}", { principal }))).rejects.toMatchObject({
          code: "usage",
        });
      },
    );
  });

  describe("a call that is decided twice", () => {
    test("gets the same verdict without a second record, and no second lease", async () => {
      const call = intent(gateway, "write");
      const first = await backend.decide(call);
      const second = await backend.decide(call);
      expect(second).toEqual(first);
      const allowed = intent(gateway);
      const lease = await backend.decide(allowed);
      const again = await backend.decide(allowed);
      expect(again).toEqual({ ...lease, leaseUntil: 0 });
      expect((await backend.approvals({})).length).toBe(1);
    });

    test("in one turn is decided once", async () => {
      const call = intent(gateway, "write");
      const others = Array.from({ length: 5 }, () => intent(gateway));
      const [first, second, ...rest] = await Promise.all(
        [call, call, ...others].map((one) => backend.decide(one)),
      );
      expect(second).toEqual(first);
      expect(rest.map(({ decision }) => decision)).toEqual(others.map(() => "ALLOW"));
      const decided = (await backend.records({ limit: 100 })).filter((record) => record.call === call.call);
      expect(decided.length).toBe(1);
      expect(await backend.verify()).toMatchObject({ ok: true });
    });

    test("harms nobody whose call ends in the same turn", async () => {
      const [call, mine] = [intent(gateway), intent(gateway)];
      await backend.decide(call);
      await backend.decide(mine);
      const results = await Promise.allSettled([
        backend.decide({ ...intent(gateway, "read", '{"path":"/etc"}'), call: call.call }),
        backend.conclude([outcomeOf(mine)]),
      ]);
      expect(results).toMatchObject([
        { status: "fulfilled", value: { decision: "BLOCK" } },
        { status: "fulfilled" },
      ]);
      const ended = await backend.records({ limit: 10, kinds: ["outcome"] });
      expect(ended).toMatchObject([{ call: mine.call, outcome: "ok" }]);
    });

    test("and ends in the same turn, twice, has one outcome", async () => {
      const call = intent(gateway);
      await Promise.all([
        backend.decide(call),
        backend.conclude([outcomeOf(call), outcomeOf(call, { outcome: "error" })]),
        backend.conclude([outcomeOf(call, { outcome: "unknown" })]),
      ]);
      const ended = await backend.records({ limit: 10, kinds: ["outcome"] });
      expect(ended).toMatchObject([{ call: call.call, outcome: "ok" }]);
    });

    test("as another call is refused", async () => {
      const call = intent(gateway);
      await backend.decide(call);
      const other = await backend.decide({ ...intent(gateway, "read", '{"path":"/etc"}'), call: call.call });
      expect(other.decision).toBe("BLOCK");
      expect((await backend.records({ limit: 1 }))[0]).toMatchObject({
        kind: "refused",
        id: other.record,
      });
    });
  });

  describe("a lease that ran out", () => {
    test("is renewed for a call that was allowed", async () => {
      const call = intent(gateway);
      await backend.decide(call);
      const verdict = await backend.release(call, null);
      expect(verdict).toMatchObject({ decision: "ALLOW", reason: "Lease renewed." });
      expect(verdict.leaseUntil).toBeGreaterThan(performance.now());
      expect((await backend.records({ limit: 1 }))[0]).toMatchObject({
        kind: "decision",
        release: true,
      });
    });

    test("is not renewed for a call that has ended, also in the same turn", async () => {
      const call = intent(gateway);
      await backend.decide(call);
      const [, same] = await Promise.all([backend.conclude([outcomeOf(call)]), backend.release(call, null)]);
      for (const verdict of [same, await backend.release(call, null)]) {
        expect(verdict).toMatchObject({ decision: "BLOCK", reason: expect.stringContaining("has ended") });
        expect(verdict.leaseUntil).toBeUndefined();
      }
    });

    test("is not renewed for a killed agent", async () => {
      const call = intent(gateway);
      await backend.decide(call);
      await backend.kill(agent, person(), "");
      expect((await backend.release(call, null)).decision).toBe("KILLED");
    });

    test("is not renewed for a call that was never decided, was blocked, waits, or is another now", async () => {
      const [blocked, held, allowed] = [intent(gateway, "delete"), intent(gateway, "write"), intent(gateway)];
      for (const call of [blocked, held, allowed]) await backend.decide(call);
      const other = { ...allowed, arguments: '{"path":"/etc/passwd"}' };
      for (const call of [intent(gateway), blocked, held, other]) {
        const verdict = await backend.release(call, null);
        expect(verdict.decision).toBe("BLOCK");
        expect(verdict.leaseUntil).toBeUndefined();
      }
    });
  });

  test("outcomes ride with the next decision, or are written within moments", async () => {
    const call = intent(gateway);
    await backend.decide(call);
    backend.outcome(outcomeOf(call));
    await backend.decide(intent(gateway));
    const ridden = await backend.records({ limit: 2 });
    expect(ridden.map(({ kind }) => kind)).toEqual(["outcome", "decision"]);
    expect(ridden[0]).toMatchObject({ call: call.call, outcome: "ok", duration: 1.5, agent });
    backend.outcome(outcomeOf(intent(gateway), { outcome: "tool_error" }));
    await expect
      .poll(async () => (await backend.records({ limit: 1 }))[0])
      .toMatchObject({ outcome: "tool_error" });
  });

  test("a call has one outcome", async () => {
    const call = intent(gateway);
    await backend.decide(call);
    backend.outcome(outcomeOf(call));
    backend.outcome(outcomeOf(call, { outcome: "error" }));
    const after = await backend.decide(intent(gateway));
    expect(after.decision).toBe("ALLOW");
    const outcomes = (await backend.records({ limit: 100 })).filter(({ kind }) => kind === "outcome");
    expect(outcomes).toMatchObject([{ outcome: "ok" }]);
  });

  test("agents are listed with their owner and what was decided of them", async () => {
    for (const tool of ["read", "read", "delete", "write"]) await backend.decide(intent(gateway, tool));
    expect(await backend.agents()).toMatchObject([
      {
        name: agent,
        status: "ACTIVE",
        owner: "platform-team",
        killed: null,
        allowed: 2,
        blocked: 1,
        held: 1,
      },
    ]);
  });

  test("what was decided survives a restart, and what was queued is written at the end", async () => {
    const call = intent(gateway);
    await backend.decide(call);
    backend.outcome(outcomeOf(call));
    await backend.close();
    backend = await open(place);
    expect((await backend.records({ limit: 1, kinds: ["outcome"] }))[0]).toMatchObject({
      kind: "outcome",
      call: call.call,
    });
    expect(await backend.verify()).toMatchObject({ ok: true, open: 0 });
  });

  test("secrets in arguments, reasons and notes are nowhere in the store once nothing is held", async () => {
    const canary = "sk-canary0123456789abcdef";
    const text = JSON.stringify({
      // More than a page of the store: what is freed must be overwritten too.
      content: "x".repeat(20_000),
      password: `${canary}1`,
      note: `use ${canary}2`,
      [`${canary}3`]: 1,
    });
    const call = intent(gateway, "read", text);
    await backend.decide(call);
    backend.outcome(outcomeOf(call, { reason: `failed with Bearer ${canary}4` }));
    await backend.note({ kind: "refused", reason: `bad frame: token=${canary}5`, action: canary });
    const held = await backend.decide(intent(gateway, "write", text));
    expect((await backend.approval(held.approval?.id ?? 0)).arguments).toBe(text);
    // In a file of this user it is on the disk by now, so that it is to be overwritten; where others read, it is sealed.
    expect((await place.everything()).includes("canary")).toBe(place.database === undefined);
    await backend.decideApproval(held.approval?.id ?? 0, "denied", person(), `because of ${canary}6`);
    const records = JSON.stringify(await backend.records({ limit: 100 }));
    expect(records).not.toContain("canary");
    expect(JSON.stringify(await backend.approvals({}))).not.toContain("canary");
    expect((await place.everything()).includes("canary")).toBe(false);
  });
});
