import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { DecisionOptions, Intent, LedgerRecord, NewToken, Principal } from "../../src/client/backend.js";
import { approver, holdCall } from "../fixtures/backend/governed.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { intent, open, person } from "../fixtures/backend/store.js";

const policy = `
agent: claude-*
default: block
review:
  - { action: files__one }
  - { action: files__two, approval: { quorum: 2 } }
  - { action: files__team, approval: { approvers: [docs-team, leads] } }
  - { action: files__lead*, approval: { approvers: [leads], quorum: 2 } }
  - { action: "*__leadership", approval: { approvers: [board], quorum: 3, reason: required } }
  - { action: files__why, approval: { reason: required } }
  - { action: files__page, approval: { channels: [page] } }
  - { action: files__client, approval: { quorum: 2, channels: [client, cli] } }
`;

describe.each(stores)("$name:", ({ make }) => {
  let place: Place;
  let backend: Service;
  let gateway: string;

  beforeEach(async () => {
    place = await make();
    writeFileSync(`${place.policies}/claude.yaml`, policy);
    backend = await open(place);
    gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  });
  afterEach(async () => {
    await backend.close();
    await place.remove();
  });

  const token = (over: Partial<NewToken> = {}) => approver(backend, over);

  const hold = (tool: string) => holdCall({ backend, gateway }, tool);

  function approve(id: number, by: Principal, reason = "", options?: DecisionOptions) {
    return backend.decideApproval(id, "approved", by, reason, options);
  }

  async function records(id: number): Promise<LedgerRecord[]> {
    const all = await backend.records({ limit: 1_000, kinds: ["approval"] });
    return all.filter(({ approval }) => approval === id);
  }

  describe("a quorum", () => {
    test("is reached by distinct people: the last one approves, all are named, each vote is recorded", async () => {
      const [bob, carol] = [await token(), await token({ name: "carol" })];
      const { id, call } = await hold("two");
      expect(await approve(id, bob.by, "looks right")).toMatchObject({
        status: "pending",
        requirement: { quorum: 2 },
        votes: [{ by: "bob", reason: "looks right" }],
      });
      expect((await backend.release(call, id)).decision).toBe("BLOCK");
      expect(await approve(id, carol.by, "yes")).toMatchObject({
        status: "approved",
        decidedBy: "bob, carol",
      });
      const shown = await backend.approval(id);
      expect(shown.votes).toMatchObject([
        { by: "bob", at: expect.stringMatching(/^20/) },
        { by: "carol", reason: "yes" },
      ]);
      expect(await backend.approvals({ status: "approved" })).toEqual([shown]);
      expect(await backend.release(call, id)).toMatchObject({
        decision: "ALLOW",
        reason: expect.stringMatching(/approved by bob, carol at .*bob: looks right; carol: yes/),
      });
      expect(await records(id)).toMatchObject([
        { decision: "vote", principal: "bob", reason: "looks right" },
        { decision: "approved", principal: "carol", reason: "bob: looks right; carol: yes" },
        { decision: "consumed" },
      ]);
    });

    test("counts the same person once, whichever token, case or way; another person makes it full", async () => {
      const tokens = [await token(), await token(), await token({ name: "BOB", role: "admin" })];
      const { id, call } = await hold("two");
      await approve(id, tokens[0]?.by ?? person());
      for (const { by } of tokens)
        for (const channel of ["cli", "page"] as const)
          await expect(approve(id, by, "again", { channel })).rejects.toMatchObject({
            code: "already_approved",
            message: expect.stringMatching(/^bob has approved approval \d+ already/),
          });
      expect((await backend.approval(id)).votes).toHaveLength(1);
      expect((await backend.release(call, id)).decision).toBe("BLOCK");
      await approve(id, (await token({ name: "carol" })).by, "", { channel: "page" });
      expect((await backend.release(call, id)).decision).toBe("ALLOW");
    });

    test("is ended by one who denies, also after having approved", async () => {
      const { by } = await token();
      const { id, call } = await hold("two");
      await approve(id, by);
      expect(await backend.decideApproval(id, "denied", by, "on second thought")).toMatchObject({
        status: "denied",
        decidedBy: "bob",
      });
      await expect(approve(id, (await token({ name: "carol" })).by)).rejects.toMatchObject({
        code: "approval_settled",
      });
      expect((await backend.release(call, id)).decision).toBe("BLOCK");
    });

    test("does not count whose token was revoked before the last vote; with another token he may say it again", async () => {
      const [bob, carol] = [await token(), await token({ name: "carol" })];
      const { id } = await hold("two");
      await approve(id, bob.by);
      await backend.revokeToken(bob.id, person());
      expect((await backend.approval(id)).votes).toEqual([]);
      expect(await approve(id, carol.by)).toMatchObject({ status: "pending", votes: [{ by: "carol" }] });
      expect(await approve(id, (await token()).by)).toMatchObject({ status: "approved" });
    });

    test("that a revocation breaks before the release makes the approval void", async () => {
      const [bob, carol] = [await token(), await token({ name: "carol" })];
      const [broken, whole] = [await hold("two"), await hold("two")];
      for (const { id } of [broken, whole]) for (const { by } of [bob, carol]) await approve(id, by);
      expect((await backend.release(whole.call, whole.id)).decision).toBe("ALLOW");
      await backend.revokeToken(bob.id, person());
      expect(await backend.release(broken.call, broken.id)).toMatchObject({
        decision: "BLOCK",
        reason: expect.stringContaining(
          "a token that approved it was revoked, which leaves 1 of 2 approvals",
        ),
        approval: { status: "void" },
      });
      // Its lease is not renewed either.
      expect((await backend.release(whole.call, null)).decision).toBe("BLOCK");
    });

    test("is not reached in the client, where nobody knows who answers", async () => {
      const { id } = await hold("client");
      await expect(approve(id, (await token()).by, "", { channel: "client" })).rejects.toMatchObject({
        code: "not_permitted",
      });
      expect((await backend.approval(id)).votes).toEqual([]);
      expect(await approve(id, (await token()).by)).toMatchObject({ status: "pending" });
    });

    test("of a hundred at once is reached once, by as many as it takes", async () => {
      const people = Array.from({ length: 100 }, (_, n) => person(`os:p${n % 50}`));
      const { id } = await hold("two");
      const said = await Promise.allSettled(people.map((by) => approve(id, by)));
      const done = said.flatMap((each) => (each.status === "fulfilled" ? [each.value.status] : []));
      expect(done.toSorted()).toEqual(["approved", "pending"]);
      expect((await records(id)).map(({ decision }) => decision)).toEqual(["vote", "approved"]);
    });
  });

  describe("approvers", () => {
    test("are in a group that the rule names, admins too, also to deny", async () => {
      const { id, call } = await hold("team");
      for (const { by } of [
        await token(),
        await token({ role: "admin", groups: ["others"] }),
        { by: person() },
      ]) {
        for (const verdict of ["approved", "denied"] as const)
          await expect(backend.decideApproval(id, verdict, by, "")).rejects.toMatchObject({
            code: "not_permitted",
            message: expect.stringContaining("asks for one of docs-team, leads"),
          });
      }
      expect(await backend.approval(id)).toMatchObject({ status: "pending", votes: [] });
      await approve(id, (await token({ groups: ["leads"] })).by);
      expect((await backend.release(call, id)).decision).toBe("ALLOW");
    });

    test("satisfy every rule that matches, with the largest quorum", async () => {
      const { id } = await hold("leadership");
      const shown = await backend.approval(id);
      expect(shown.requirement).toMatchObject({ quorum: 3, reason: true });
      expect(shown.requirement.approvers).toEqual([["board"], ["leads"]]);
      for (const groups of [["leads"], ["board"]])
        await expect(approve(id, (await token({ groups })).by, "fine")).rejects.toMatchObject({
          code: "not_permitted",
        });
      const groups = ["board", "leads"];
      const three = [
        await token({ groups }),
        await token({ name: "carol", groups }),
        await token({ name: "dan", groups }),
      ];
      const statuses: string[] = [];
      for (const { by } of three) statuses.push((await approve(id, by, "fine")).status);
      expect(statuses).toEqual(["pending", "pending", "approved"]);
    });

    test("whose token is revoked between the look and the click do not decide", async () => {
      const { id: revoked, by } = await token();
      const { id } = await hold("one");
      await backend.approval(id);
      await backend.revokeToken(revoked, person());
      for (const verdict of ["approved", "denied"] as const)
        await expect(backend.decideApproval(id, verdict, by, "")).rejects.toMatchObject({
          code: "not_permitted",
        });
      expect(await backend.approval(id)).toMatchObject({ status: "pending" });
      expect(await approve(id, (await token()).by)).toMatchObject({ status: "approved" });
    });
  });

  test("a reason, where it is asked for, and a channel that is not listed", async () => {
    const [why, page] = [await hold("why"), await hold("page")];
    await expect(approve(why.id, person(), " ")).rejects.toMatchObject({ code: "usage" });
    expect(await approve(why.id, person(), "because")).toMatchObject({ status: "approved" });
    await expect(approve(page.id, person())).rejects.toMatchObject({ code: "not_permitted" });
    expect(await approve(page.id, person(), "", { channel: "page" })).toMatchObject({ status: "approved" });
    const denied = await hold("why");
    expect(await backend.decideApproval(denied.id, "denied", person(), "")).toMatchObject({
      status: "denied",
    });
  });

  test("a call whose rule asks for something else by now is asked anew", async () => {
    const first = await hold("one");
    await backend.detachWaiter(first.id, first.call.call);
    await approve(first.id, person());
    writeFileSync(
      `${place.policies}/claude.yaml`,
      policy.replace("files__one", "files__one, approval: { quorum: 2 }"),
    );
    const stricter = await open(place);
    const call = intent(gateway, "one");
    const asked = await stricter.decide(call);
    await stricter.close();
    expect(asked.approval).toMatchObject({ status: "pending" });
    expect(asked.approval?.id).not.toBe(first.id);
    const same = intent(gateway, "one");
    expect((await backend.decide(same)).approval?.id).toBe(first.id);
  });

  describe("of many who decide at one moment", () => {
    test("one wins, the others are told who; there is one record", async () => {
      for (let round = 0; round < 3; round++) {
        const { id } = await hold("one");
        const said = await Promise.allSettled(
          Array.from({ length: 100 }, (_, n) =>
            backend.decideApproval(id, n % 2 === 0 ? "approved" : "denied", person(`os:p${n}`), ""),
          ),
        );
        const [winner, ...more] = said.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
        expect(more).toEqual([]);
        for (const each of said) {
          if (each.status === "fulfilled") continue;
          expect(each.reason).toMatchObject({
            code: "approval_settled",
            message: expect.stringContaining(`${winner?.status} by ${winner?.decidedBy} at`),
          });
        }
        expect((await records(id)).map(({ decision, principal }) => [decision, principal])).toEqual([
          [winner?.status, winner?.decidedBy],
        ]);
      }
    });
  });

  test("what has ended stays as it ended, whoever says what", async () => {
    const ends: Record<string, (id: number, call: Intent) => Promise<unknown>> = {
      denied: (id) => backend.decideApproval(id, "denied", person(), ""),
      approved: (id) => approve(id, person()),
      consumed: (id, call) => approve(id, person()).then(() => backend.release(call, id)),
      expired: (id) => place.sql("UPDATE approvals SET expires_at = created_at WHERE id = ?", id),
    };
    for (const [status, end] of Object.entries(ends)) {
      const { id, call } = await hold("one");
      await end(id, call);
      for (const verdict of ["approved", "denied"] as const)
        await expect(backend.decideApproval(id, verdict, person("os:bob"), "")).rejects.toMatchObject({
          code: "approval_settled",
        });
      const after = await backend.approval(id);
      expect(after.status).toBe(status);
      // Nobody who came late is counted among those who approved.
      expect(after.votes.map(({ by }) => by)).toEqual(
        after.decidedBy === null || status === "denied" ? [] : ["os:ada"],
      );
      expect(await records(id)).toHaveLength(status === "consumed" ? 2 : 1);
    }
  });

  test("an approver sees the tool as it was shown, what was let through before, and what else waits alike", async () => {
    const [before, after] = ["d".repeat(64), "e".repeat(64)];
    for (const hash of [before, after])
      await place.sql(
        "INSERT INTO definitions (hash, text) VALUES (?, ?) RETURNING hash",
        hash,
        `{"v":"${hash[0]}"}`,
      );
    const used = await hold("one");
    await approve(used.id, person());
    await backend.release(used.call, used.id);
    const calls = [1, 2].map(() => intent(gateway, "one", '{"token":"hunter22"}', { definition: after }));
    const ids: number[] = [];
    for (const call of calls) ids.push((await backend.decide(call)).approval?.id ?? 0);
    await backend.decide(intent(gateway, "one", '{"token":"hunter23"}', { definition: after }));
    expect(await backend.approvalContext(ids[1] ?? 0)).toEqual({
      definition: '{"v":"e"}',
      previous: {
        id: used.id,
        redacted: '{"path":"/srv/a.txt"}',
        decidedBy: "os:ada",
        decidedAt: expect.stringMatching(/^20/),
        definition: '{"v":"d"}',
      },
      alike: ids,
    });
    expect(await backend.approvalContext(used.id)).toMatchObject({ previous: null, alike: [] });
    expect(await backend.approvalContext((await hold("two")).id)).toMatchObject({ previous: null });
    await expect(backend.approvalContext(999)).rejects.toMatchObject({ code: "unknown_approval" });
  });

  test("nothing runs at or after its expiry, whatever the moment", async () => {
    if (place.database !== undefined) return;
    const real = Date.now;
    let offset = 0;
    try {
      Date.now = () => real() + offset;
      for (let n = 0; n < 60; n++) {
        offset = 0;
        const call = intent(gateway, "one", `{"n":${n}}`);
        const verdict = await backend.decide(call);
        const id = verdict.approval?.id ?? 0;
        await approve(id, person());
        const expires = Date.parse(verdict.approval?.expiresAt ?? "");
        // The millisecond before, the one itself, and anywhere.
        const at =
          n < 10 ? expires - 40 - n : n < 20 ? expires : real() + Math.random() * 2 * (expires - real());
        offset = at - real();
        const released = await backend.release(call, id);
        const [record] = await backend.records({ limit: 1, after: released.record - 1 });
        if (released.decision === "ALLOW") expect(Date.parse(record?.at ?? "")).toBeLessThan(expires);
        else expect(Date.parse(record?.at ?? "")).toBeGreaterThanOrEqual(expires);
      }
    } finally {
      Date.now = real;
    }
  });
});
