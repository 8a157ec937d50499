import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { BackendEvent, Intent, Verdict } from "../../src/client/backend.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import {
  agent,
  caller,
  intent,
  makeHome,
  open,
  outcomeOf,
  person,
  waitFor,
} from "../fixtures/backend/store.js";

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

  function idOf(verdict: Verdict): number {
    if (verdict.approval === undefined) throw new Error(`no approval: ${verdict.reason}`);
    return verdict.approval.id;
  }

  function write(text = '{"path":"/srv/a.txt"}', over: Partial<Intent> = {}): Intent {
    return intent(gateway, "write", text, over);
  }

  async function hold(call: Intent): Promise<number> {
    const verdict = await backend.decide(call);
    expect(verdict.decision).toBe("REVIEW");
    return idOf(verdict);
  }

  async function approved(call: Intent): Promise<number> {
    const id = await hold(call);
    await backend.decideApproval(id, "approved", person(), "fine");
    return id;
  }

  describe("a held call", () => {
    test("opens an approval that shows the exact arguments, and says that a call waits", async () => {
      const text = '{ "path": "/srv/a.txt",\n "amount": 9007199254740993, "x": 1.0 }';
      const call = write(text);
      const id = await hold(call);
      expect(await backend.approval(id)).toMatchObject({
        id,
        agent,
        principal: caller,
        action: "files__write",
        arguments: text,
        status: "pending",
        waiting: true,
        decidedBy: null,
      });
      expect((await backend.approvals({ status: "pending" })).map((one) => one.id)).toEqual([id]);
      expect(await backend.approvals({ status: "denied" })).toEqual([]);
    });

    test("runs once it is approved, and the approval is used up by it alone", async () => {
      const call = write();
      const id = await approved(call);
      const verdict = await backend.release(call, id);
      expect(verdict).toMatchObject({ decision: "ALLOW", approval: { id, status: "consumed" } });
      expect(verdict.leaseUntil).toBeGreaterThan(performance.now());
      expect(verdict.reason).toContain("approved by os:ada");
      const another = await backend.release(write(), id);
      expect(another).toMatchObject({ decision: "BLOCK", reason: expect.stringContaining("has been used") });
      expect(another.leaseUntil).toBeUndefined();
      expect(await backend.approval(id)).toMatchObject({ status: "consumed", decidedBy: "os:ada" });
    });

    test("whose release was granted and the answer lost is released again, until it has ended", async () => {
      const call = write();
      const id = await approved(call);
      await backend.release(call, id);
      const [before] = await backend.agents();
      const again = await backend.release(call, id);
      expect(again).toMatchObject({ decision: "ALLOW", approval: { id, status: "consumed" } });
      expect(again.leaseUntil).toBeGreaterThan(performance.now());
      expect((await backend.agents())[0]).toMatchObject({ allowed: before?.allowed });
      const other = { ...call, arguments: '{"path":"/etc/passwd"}' };
      expect((await backend.release(other, id)).decision).toBe("BLOCK");
      await backend.conclude([outcomeOf(call)]);
      expect(await backend.release(call, id)).toMatchObject({
        decision: "BLOCK",
        reason: expect.stringContaining("has ended"),
      });
    });

    test("whose answer was lost is not released again after a kill", async () => {
      const call = write();
      const id = await approved(call);
      await backend.release(call, id);
      await backend.kill(agent, person(), "");
      expect((await backend.release(call, id)).decision).toBe("KILLED");
    });

    test("is not released again, and its lease not renewed, once its approver's token is revoked", async () => {
      const wanted = { name: "bob", role: "approver" } as const;
      const { id: token, token: secret } = await backend.createToken(wanted, person());
      const bob = await backend.authenticate(secret);
      if (bob === null) throw new Error("no principal");
      const call = write();
      const id = await hold(call);
      await backend.decideApproval(id, "approved", bob, "fine");
      await backend.release(call, id);
      expect((await backend.release(call, null)).decision).toBe("ALLOW");
      await backend.revokeToken(token, person());
      for (const approval of [null, id]) {
        const verdict = await backend.release(call, approval);
        expect(verdict).toMatchObject({
          decision: "BLOCK",
          reason: expect.stringContaining("the token that approved it was revoked"),
        });
        expect(verdict.leaseUntil).toBeUndefined();
      }
    });

    test("whose gateway lost the answer lets go of the approval by its outcome", async () => {
      const [lost, repeat] = [write(), write()];
      const id = await hold(lost);
      expect((await backend.approval(id)).waiting).toBe(true);
      // Of somebody else's call it would let go of nothing.
      await backend.conclude([outcomeOf(lost, { outcome: "not_forwarded", principal: "stdio:other" })]);
      expect((await backend.approval(id)).waiting).toBe(true);
      await backend.conclude([outcomeOf(lost, { outcome: "not_forwarded" })]);
      expect((await backend.approval(id)).waiting).toBe(false);
      expect(await hold(repeat)).toBe(id);
    });

    test("that was released may have its lease renewed, but not after a kill", async () => {
      const call = write();
      const id = await approved(call);
      await backend.release(call, id);
      expect(await backend.release(call, null)).toMatchObject({ decision: "ALLOW", approval: { id } });
      await backend.kill(agent, person(), "");
      expect((await backend.release(call, null)).decision).toBe("KILLED");
    });

    test.each(["pending", "denied"] as const)("does not run while its approval is %s", async (status) => {
      const call = write();
      const id = await hold(call);
      if (status === "denied") await backend.decideApproval(id, "denied", person(), "no");
      const verdict = await backend.release(call, id);
      expect(verdict.decision).toBe("BLOCK");
      expect(await backend.approval(id)).toMatchObject({ status });
    });

    test("does not run on an approval that does not exist", async () => {
      expect((await backend.release(write(), 77)).decision).toBe("BLOCK");
    });

    test("does not run on an approval of other arguments, tool, server, agent or principal", async () => {
      const call = write('{"n":1}');
      const id = await approved(call);
      await backend.detachWaiter(id, call.call);
      await backend.ensureAgent("claude-other");
      const others: Array<Partial<Intent>> = [
        { arguments: '{"n":1.0}', parsed: { n: 1 } },
        { arguments: "", parsed: undefined },
        { tool: "soon", action: "files__soon" },
        { server: "disk" },
        { agent: "claude-other" },
        { principal: "stdio:other" },
      ];
      for (const over of others) {
        const verdict = await backend.release({ ...write('{"n":1}'), ...over }, id);
        expect(verdict.decision, JSON.stringify(over)).toBe("BLOCK");
      }
      expect(await backend.approval(id)).toMatchObject({ status: "approved" });
      expect((await backend.release(call, id)).decision).toBe("ALLOW");
    });

    test("whose tool was redefined since makes its approval void", async () => {
      const call = write();
      const id = await approved(call);
      const verdict = await backend.release({ ...call, definition: "e".repeat(64) }, id);
      expect(verdict).toMatchObject({ decision: "BLOCK", approval: { status: "void" } });
      expect((await backend.release(call, id)).decision).toBe("BLOCK");
    });

    test("that the policy blocks by now does not run, and its approval is void", async () => {
      const call = write();
      const id = await approved(call);
      const stricter = makeHome();
      const { writeFileSync } = await import("node:fs");
      writeFileSync(`${stricter.policies}/claude.yaml`, "agent: claude-*\nblock: [files__write]\n");
      const later = await open({ ...place, policies: stricter.policies });
      const verdict = await later.release(call, id);
      await later.close();
      stricter.remove();
      expect(verdict).toMatchObject({ decision: "BLOCK", rule: "claude.yaml:2 block files__write" });
      expect(await backend.approval(id)).toMatchObject({ status: "void" });
    });

    test("does not run on an approval by a token that was revoked since", async () => {
      const { id: token, token: secret } = await backend.createToken(
        { name: "bob", role: "approver" },
        person(),
      );
      const bob = await backend.authenticate(secret);
      if (bob === null) throw new Error("no principal");
      const call = write();
      const id = await hold(call);
      await backend.decideApproval(id, "approved", bob, "fine");
      await backend.revokeToken(token, person());
      expect((await backend.release(call, id)).decision).toBe("BLOCK");
      expect(await backend.approval(id)).toMatchObject({ status: "void" });
      await expect(backend.decideApproval(await hold(write()), "approved", bob, "")).rejects.toMatchObject({
        code: "not_permitted",
      });
    });
  });

  describe("the digest", () => {
    async function sameApproval(one: string, other: string): Promise<boolean> {
      const first = write(one);
      const id = await hold(first);
      await backend.detachWaiter(id, first.call);
      return (await hold(write(other))) === id;
    }

    test("tells numbers apart as they are written", async () => {
      const texts = [
        '{"n":1}',
        '{"n":1.0}',
        '{"n":1e0}',
        '{"n":9007199254740993}',
        '{"n":9007199254740992}',
        '{"n":"1"}',
      ];
      const ids = await Promise.all(texts.map((text) => hold(write(text))));
      const digests = await Promise.all(ids.map(async (id) => (await backend.approval(id)).digest));
      expect(new Set(digests).size).toBe(texts.length);
    });

    test("is the same in whatever order and spacing the members come", async () => {
      expect(
        await sameApproval('{"a":1,"b":[2,{"c":3,"d":4}]}', ' { "b" : [2, {"d":4, "c":3}], "\\u0061":1 }'),
      ).toBe(true);
    });

    test("tells arguments that were left out from empty ones", async () => {
      expect(await sameApproval("", "{}")).toBe(false);
    });
  });

  describe("a repeat", () => {
    test("attaches to the approval of a caller that is gone", async () => {
      const first = write();
      const id = await hold(first);
      await backend.detachWaiter(id, first.call);
      expect(await backend.approval(id)).toMatchObject({ status: "pending", waiting: false });
      const second = write();
      expect(await hold(second)).toBe(id);
      expect(await backend.approval(id)).toMatchObject({ waiting: true });
    });

    test("attaches to one that was approved in the meantime, says so, and may run", async () => {
      const first = write();
      const id = await hold(first);
      await backend.detachWaiter(id, first.call);
      await backend.decideApproval(id, "approved", person(), "fine");
      const second = write();
      expect(await backend.decide(second)).toMatchObject({
        decision: "REVIEW",
        approval: { id, status: "approved" },
      });
      expect((await backend.release(second, id)).decision).toBe("ALLOW");
      const third = write();
      expect(await hold(third)).not.toBe(id);
    });

    test("of a call that still waits gets an approval of its own: ten holds, one click, one call", async () => {
      const holds = Array.from({ length: 10 }, () => write());
      const ids = await Promise.all(holds.map(hold));
      expect(new Set(ids).size).toBe(10);
      const [clicked] = ids;
      await backend.decideApproval(clicked ?? 0, "approved", person(), "one");
      const verdicts = await Promise.all(holds.flatMap((call) => ids.map((id) => backend.release(call, id))));
      expect(verdicts.filter(({ decision }) => decision === "ALLOW").length).toBe(1);
    });

    test("can not use the approval that the first still waits on", async () => {
      const [first, second] = [write(), write()];
      const id = await approved(first);
      await hold(second);
      expect(await backend.release(second, id)).toMatchObject({
        decision: "BLOCK",
        approval: { status: "approved" },
      });
      expect((await backend.release(first, id)).decision).toBe("ALLOW");
    });

    test("by another principal does not attach", async () => {
      const first = write();
      const id = await hold(first);
      await backend.detachWaiter(id, first.call);
      expect(await hold(write(undefined, { principal: "stdio:other" }))).not.toBe(id);
    });

    test("attaches after a restart, when nothing runs by itself", async () => {
      const id = await approved(write());
      await backend.close();
      backend = await open(place);
      gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
      expect(await backend.approval(id)).toMatchObject({ status: "approved", waiting: false });
      const repeat = write();
      expect(idOf(await backend.decide(repeat))).toBe(id);
      expect((await backend.release(repeat, id)).decision).toBe("ALLOW");
    });

    test("does not attach for a waiter that another call has detached", async () => {
      const id = await hold(write());
      await backend.detachWaiter(id, "another-call");
      expect(await backend.approval(id)).toMatchObject({ waiting: true });
    });
  });

  describe("deciding", () => {
    test("is one compare-and-set: the second is told who decided what, and nothing changes", async () => {
      const id = await hold(write());
      const decided = await backend.decideApproval(id, "denied", person("os:bob", "approver"), "too risky");
      expect(decided).toMatchObject({ status: "denied", decidedBy: "os:bob", decidedReason: "too risky" });
      await expect(backend.decideApproval(id, "approved", person(), "but")).rejects.toMatchObject({
        code: "approval_settled",
        message: expect.stringMatching(/denied by os:bob at 20.*\(too risky\); nothing was changed/),
      });
      expect(await backend.approval(id)).toMatchObject({ status: "denied" });
      const records = (await backend.records({ limit: 100 })).filter(({ kind }) => kind === "approval");
      expect(records).toMatchObject([
        { approval: id, decision: "denied", principal: "os:bob", reason: "too risky" },
      ]);
    });

    test("erases the exact arguments when it ends the approval, and keeps them while it does not", async () => {
      const text = '{"password":"hunter22","n":1.0}';
      const [denied, used] = [await hold(write(text)), await hold(write(text))];
      await backend.decideApproval(denied, "denied", person(), "");
      expect((await backend.approval(denied)).arguments).toBe('{"password":"[redacted]","n":1}');
      await backend.decideApproval(used, "approved", person(), "");
      expect((await backend.approval(used)).arguments).toBe(text);
    });

    test.each(["agent", "auditor"] as const)("is not permitted to the role %s", async (role) => {
      const id = await hold(write());
      await expect(backend.decideApproval(id, "approved", person("eve", role), "")).rejects.toMatchObject({
        code: "not_permitted",
      });
      expect(await backend.approval(id)).toMatchObject({ status: "pending" });
    });

    test("is not permitted to whoever made the call, in whatever role", async () => {
      const id = await hold(write(undefined, { principal: "os:ada" }));
      for (const by of [person("os:ada"), person(agent)]) {
        await expect(backend.decideApproval(id, "approved", by, "")).rejects.toMatchObject({
          code: "not_permitted",
        });
      }
      expect(await backend.approval(id)).toMatchObject({ status: "pending" });
    });

    test.each([0, -1, 99, 1.5, Number.NaN])("on approval %s, which is none, is an error", async (id) => {
      await expect(backend.decideApproval(id, "approved", person(), "")).rejects.toMatchObject({
        code: "unknown_approval",
      });
      await expect(backend.approval(id)).rejects.toMatchObject({ code: "unknown_approval" });
    });
  });

  describe("an approval that expired", () => {
    test("ends by itself, tells its waiter, and is recorded", async () => {
      const heard: BackendEvent[] = [];
      backend.subscribe((event) => {
        heard.push(event);
      });
      const id = idOf(await backend.decide(intent(gateway, "soon")));
      await waitFor(
        () => heard.some((event) => event.kind === "approval" && event.status === "expired"),
        "the expiry",
      );
      expect(await backend.approval(id)).toMatchObject({ status: "expired", waiting: false });
      await expect(backend.decideApproval(id, "approved", person(), "")).rejects.toMatchObject({
        code: "approval_settled",
        message: expect.stringContaining("expired"),
      });
      expect((await backend.records({ limit: 1 }))[0]).toMatchObject({
        kind: "approval",
        decision: "expired",
      });
    });

    test("never runs, whenever it was approved: checked at the use, not only by the sweep", async () => {
      for (const wait of [0, 60, 110, 140, 150, 165]) {
        const call = intent(gateway, "soon", `{"wait":${wait}}`);
        const verdict = await backend.decide(call);
        const expires = Date.parse(verdict.approval?.expiresAt ?? "");
        await backend.decideApproval(idOf(verdict), "approved", person(), "fine");
        await new Promise((resolve) => setTimeout(resolve, wait));
        const released = await backend.release(call, idOf(verdict));
        const [record] = (await backend.records({ limit: 5 })).filter(({ id }) => id === released.record);
        if (released.decision === "ALLOW") expect(Date.parse(record?.at ?? "")).toBeLessThan(expires);
        else expect(Date.now()).toBeGreaterThanOrEqual(expires);
      }
    });

    test("does not live longer because the clock was set back", async () => {
      const call = write();
      const id = await approved(call);
      // As if the clock had been an hour ahead when it was opened.
      await place.sql(
        "UPDATE approvals SET created_at = created_at + 3600000, expires_at = expires_at + 3600000",
      );
      expect((await backend.release(call, id)).decision).toBe("BLOCK");
      expect(await backend.approval(id)).toMatchObject({ status: "expired" });
    });

    test("does not live longer because the clock was set back a little while it was open", async () => {
      const call = intent(gateway, "soon");
      const id = idOf(await backend.decide(call));
      const real = Date.now;
      try {
        Date.now = () => real() - 30_000;
        await backend.decideApproval(id, "approved", person(), "");
        await new Promise((resolve) => setTimeout(resolve, 160));
        expect((await backend.release(call, id)).decision).toBe("BLOCK");
      } finally {
        Date.now = real;
      }
      expect(await backend.approval(id)).toMatchObject({ status: "expired" });
    });

    test("is not attached to", async () => {
      const first = intent(gateway, "soon");
      const id = idOf(await backend.decide(first));
      await backend.detachWaiter(id, first.call);
      await new Promise((resolve) => setTimeout(resolve, 160));
      expect(idOf(await backend.decide(intent(gateway, "soon")))).not.toBe(id);
    });
  });
});
