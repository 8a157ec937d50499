import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { DecisionOptions, Intent, LedgerRecord, NewToken } from "../../src/client/backend.js";
import { parsePolicy, policySet } from "../../src/policy/file/load.js";
import { approver, holdCall } from "../fixtures/backend/governed.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, intent, open, person, waitFor } from "../fixtures/backend/store.js";

const terms = '{ uses: 3, expires: 1h, arguments: { path: "/srv/docs/*" } }';
const policy = `
agent: claude-*
default: block
on_change: allow
review:
  - { action: files__write, approval: { grant: ${terms} } }
  - { action: files__pair, approval: { quorum: 2, grant: ${terms} } }
  - { action: files__plain }
  - { action: files__same, approval: { grant: { uses: 2, expires: 1h, arguments: {} } } }
  - { action: files__brief, approval: { grant: { uses: 9, expires: 150ms, arguments: {} } } }
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

  const usual = '{"path":"/srv/docs/a.txt","mode":1.0}';

  const hold = (tool = "write", text = usual) => holdCall({ backend, gateway }, tool, text);

  /** A grant, given with the approval of a call that has run. */
  async function given(
    grant: NonNullable<DecisionOptions["grant"]> = {},
    { tool = "write", text = usual, by = person() } = {},
  ): Promise<number> {
    const { id, call } = await hold(tool, text);
    await backend.decideApproval(id, "approved", by, "", { grant });
    expect((await backend.release(call, id)).decision).toBe("ALLOW");
    const [newest] = await backend.grants(true);
    expect(newest).toMatchObject({ approval: id });
    return newest?.id ?? 0;
  }

  async function decided(text = usual, over: Partial<Intent> = {}, tool = "write"): Promise<string> {
    return (await backend.decide(intent(gateway, tool, text, over))).decision;
  }

  const token = (over: Partial<NewToken> = {}) => approver(backend, over);

  function records(): Promise<readonly LedgerRecord[]> {
    return backend.records({ limit: 1_000, kinds: ["grant"] });
  }

  test("a grant lets as many calls through as it says, and is used up; every call and its end are recorded", async () => {
    const id = await given({ uses: 2 });
    const first = await backend.decide(intent(gateway, "write", '{"mode":1.0, "path":"/srv/docs/b.txt"}'));
    expect(first).toMatchObject({ decision: "ALLOW", rule: expect.stringContaining("files__write") });
    expect(first.leaseUntil).toBeGreaterThan(performance.now());
    expect(await backend.grants(false)).toMatchObject([{ id, uses: 2, left: 1, createdBy: "os:ada" }]);
    const [record] = await backend.records({ limit: 1, after: first.record - 1 });
    expect(record).toMatchObject({ kind: "decision", decision: "ALLOW", grant: id });
    expect(await decided()).toBe("ALLOW");
    expect(await decided()).toBe("REVIEW");
    expect(await backend.grants(false)).toEqual([]);
    expect(await backend.grants(true)).toMatchObject([{ id, left: 0, status: "used" }]);
    expect(await records()).toMatchObject([
      {
        grant: id,
        decision: "given",
        principal: "os:ada",
        reason: expect.stringContaining("path like /srv/docs/*"),
      },
      { grant: id, decision: "used" },
    ]);
  });

  test("a grant of one use lets one of ten through that come at once", async () => {
    await given({ uses: 1 });
    const verdicts = await Promise.all(Array.from({ length: 10 }, () => decided()));
    expect(verdicts.filter((decision) => decision === "ALLOW")).toHaveLength(1);
  });

  const others: ReadonlyArray<[what: string, text: string, over: Partial<Intent>]> = [
    ["a path outside of its pattern", '{"path":"/etc/b","mode":1.0}', {}],
    ["another argument", '{"path":"/srv/docs/b","mode":1.0,"force":true}', {}],
    ["one that is missing", '{"path":"/srv/docs/b"}', {}],
    ["another value of one that is not named", '{"path":"/srv/docs/b","mode":2}', {}],
    ["the same number, written otherwise", '{"path":"/srv/docs/b","mode":1}', {}],
    ["another type", '{"path":["/srv/docs/b"],"mode":1.0}', {}],
    ["a look-alike in the path", '{"path":"/srv/d\u043ecs/b","mode":1.0}', {}],
    ["a look-alike of the name", '{"p\u0430th":"/srv/docs/b","mode":1.0}', {}],
    ["the name twice", '{"path":"/etc/b","path":"/srv/docs/b","mode":1.0}', {}],
    ["no arguments", "", {}],
    ["another definition of the tool", usual, { definition: "e".repeat(64) }],
    ["another principal", usual, { principal: "stdio:other" }],
    ["another server", usual, { server: "disk" }],
    ["another tool of the same action", usual, { tool: "write2" }],
    ["another agent", usual, { agent: "claude-other" }],
    ["another action", usual, { tool: "pair", action: "files__pair" }],
  ];

  test("a grant covers no other call", async () => {
    await backend.ensureAgent("claude-other");
    const id = await given();
    for (const [what, text, over] of others) {
      expect(await decided(text, over), what).not.toBe("ALLOW");
      expect(await backend.grants(false), what).toMatchObject([{ id, left: 3 }]);
    }
    expect(await decided()).toBe("ALLOW");
  });

  test("a grant does not cover a tool that was pinned anew, nor outlive its time in another process", async () => {
    await given();
    await place.sql("UPDATE grants SET tool_version = tool_version + 7");
    expect(await decided()).toBe("REVIEW");
    await place.sql("UPDATE grants SET tool_version = tool_version - 7");
    expect(await decided()).toBe("ALLOW");
    await place.sql("UPDATE grants SET expires_at = created_at + 1");
    expect(await decided()).toBe("REVIEW");
  });

  test("numbers beyond what a parser keeps are told apart", async () => {
    await given({}, { text: '{"path":"/srv/docs/a","n":9007199254740993}' });
    expect(await decided('{"path":"/srv/docs/a","n":9007199254740992}')).toBe("REVIEW");
    expect(await decided('{"path":"/srv/docs/a","n":9007199254740993}')).toBe("ALLOW");
  });

  test("without a pattern a grant covers the very same arguments", async () => {
    await given({}, { tool: "same" });
    expect(await decided('{"path":"/srv/docs/b.txt","mode":1.0}', {}, "same")).toBe("REVIEW");
    expect(await decided(usual, {}, "same")).toBe("ALLOW");
  });

  test("the approved call is let go by its approval, and uses none of the grant", async () => {
    const id = await given();
    expect(await backend.grants(false)).toMatchObject([{ id, left: 3 }]);
  });

  describe("is given", () => {
    test.each<[string, string, string, NonNullable<DecisionOptions["grant"]>, string]>([
      ["with fewer uses than none", "write", usual, { uses: 0 }, "usage"],
      ["with more uses than are offered", "write", usual, { uses: 4 }, "usage"],
      ["for longer than is offered", "write", usual, { expires: 3_600_001 }, "usage"],
      ["where none is offered", "plain", usual, {}, "not_permitted"],
      ["where it would not cover the call itself", "write", '{"path":"/etc/a"}', {}, "not_permitted"],
    ])("not %s, and the approval stays", async (_, tool, text, grant, code) => {
      const { id } = await hold(tool, text);
      await expect(backend.decideApproval(id, "approved", person(), "", { grant })).rejects.toMatchObject({
        code,
      });
      expect(await backend.approval(id)).toMatchObject({ status: "pending", votes: [] });
      expect(await backend.grants(true)).toEqual([]);
      await backend.decideApproval(id, "approved", person(), "");
      expect(await backend.grants(true)).toEqual([]);
    });

    test("not with a denial", async () => {
      const { id } = await hold();
      await backend.decideApproval(id, "denied", person(), "", { grant: {} });
      expect(await backend.grants(true)).toEqual([]);
    });

    test("by a quorum only if all of it grants, and then the least of what they say", async () => {
      const [bob, carol] = [await token(), await token({ name: "carol" })];
      const [one, both] = [await hold("pair"), await hold("pair")];
      await backend.decideApproval(one.id, "approved", bob.by, "");
      await backend.decideApproval(one.id, "approved", carol.by, "", { grant: {} });
      expect(await backend.grants(true)).toEqual([]);
      await backend.decideApproval(both.id, "approved", bob.by, "", { grant: { uses: 1 } });
      expect(await backend.grants(true)).toEqual([]);
      await backend.decideApproval(both.id, "approved", carol.by, "", { grant: { expires: 60_000 } });
      const [grant] = await backend.grants(false);
      expect(grant).toMatchObject({ uses: 1, createdBy: "bob, carol" });
      expect(Date.parse(grant?.expiresAt ?? "") - Date.parse(grant?.createdAt ?? "")).toBe(60_000);
    });
  });

  describe("ends", () => {
    test("by its expiry: at the use, in the list, and by itself", async () => {
      const id = await given({}, { tool: "brief" });
      const late = await given({ expires: 1 }, { tool: "brief", text: '{"other":1}' });
      await waitFor(async () => (await backend.grants(false)).length === 0, "the expiry");
      expect(await decided(usual, {}, "brief")).toBe("REVIEW");
      await waitFor(
        async () => (await records()).filter(({ decision }) => decision === "expired").length === 2,
        "it",
      );
      expect(await backend.grants(true)).toMatchObject([
        { id: late, status: "expired" },
        { id, status: "expired" },
      ]);
    });

    test("not later because the clock was set back", async () => {
      await given({}, { tool: "brief" });
      const real = Date.now;
      try {
        Date.now = () => real() - 30_000;
        await new Promise((resolve) => setTimeout(resolve, 160));
        expect(await decided(usual, {}, "brief")).toBe("REVIEW");
      } finally {
        Date.now = real;
      }
      await given();
      await place.sql(
        "UPDATE grants SET created_at = created_at + 3600000, expires_at = expires_at + 3600000",
      );
      expect(await decided()).toBe("REVIEW");
    });

    test("by a revocation, by whom may decide; one that has ended stays as it is", async () => {
      const [id, other] = [await given(), await given({}, { tool: "same" })];
      for (const role of ["agent", "auditor"] as const)
        await expect(backend.revokeGrant(id, person("eve", role), "")).rejects.toMatchObject({
          code: "not_permitted",
        });
      await expect(backend.revokeGrant(99, person(), "")).rejects.toMatchObject({ code: "unknown_grant" });
      await backend.revokeGrant(id, person("os:bob", "approver"), "no more");
      await backend.revokeGrant(id, person(), "again");
      expect(await decided()).toBe("REVIEW");
      expect(await decided(usual, {}, "same")).toBe("ALLOW");
      expect(await backend.grants(true)).toMatchObject([
        { id: other, status: "active" },
        { id, status: "revoked" },
      ]);
      expect((await records()).filter(({ decision }) => decision === "revoked")).toMatchObject([
        { grant: id, principal: "os:bob", reason: "no more" },
      ]);
    });

    test("by the kill of its agent, for good, and without a word in the receipt", async () => {
      const id = await given();
      expect(await backend.kill(agent, person(), "")).toMatchObject({ voided: 0 });
      expect(await decided()).toBe("KILLED");
      await backend.revive(agent, person(), "");
      expect(await decided()).toBe("REVIEW");
      expect(await backend.grants(true)).toMatchObject([{ id, status: "void" }]);
      expect((await records()).at(-1)).toMatchObject({
        decision: "void",
        reason: expect.stringContaining("was killed by os:ada"),
      });
    });

    test("by the revocation of a token of anybody who gave it, at once", async () => {
      const [bob, carol] = [await token(), await token({ name: "carol" })];
      const held = await hold("pair");
      for (const { by } of [bob, carol])
        await backend.decideApproval(held.id, "approved", by, "", { grant: {} });
      const another = await given();
      await backend.revokeToken(bob.id, person());
      expect(await backend.grants(true)).toMatchObject([
        { id: another, status: "active" },
        { approval: held.id, status: "void" },
      ]);
      expect(await decided(usual, {}, "pair")).toBe("REVIEW");
      expect(await decided()).toBe("ALLOW");
    });

    test("where its giver's token is revoked beside this program", async () => {
      const bob = await token();
      const id = await given({}, { by: bob.by });
      await place.sql("UPDATE tokens SET revoked_at = 1 WHERE id = ?", bob.id);
      expect(await decided()).toBe("REVIEW");
      expect(await backend.grants(true)).toMatchObject([{ id, status: "void" }]);
    });

    test("of what the policy does not offer any more: it counts again when the offer is back", async () => {
      await given();
      writeFileSync(
        `${place.policies}/claude.yaml`,
        policy.replace(`approval: { grant: ${terms} }`, "reason: Now single"),
      );
      const stricter = await open(place);
      expect((await stricter.decide(intent(gateway, "write", usual))).decision).toBe("REVIEW");
      await stricter.close();
      writeFileSync(`${place.policies}/claude.yaml`, policy.replaceAll("/srv/docs/*", "/srv/docs/a*"));
      const narrower = await open(place);
      expect((await narrower.decide(intent(gateway, "write", usual))).decision).toBe("REVIEW");
      await narrower.close();
      expect(await decided()).toBe("ALLOW");
    });
  });

  test("a grant counts only under the terms it was given under", async () => {
    await given();
    const call = intent(gateway, "write", usual);
    expect((await backend.decide(call)).decision).toBe("ALLOW");
    const texts = [
      [terms, terms.replace("uses: 3", "uses: 1")],
      [terms, terms.replace("expires: 1h", "expires: 1m")],
      ["files__write, approval: {", "files__write, approval: { quorum: 2,"],
      ["files__write, approval: {", "files__write, approval: { reason: required,"],
      ["files__write, approval: {", "files__write, approval: { approvers: [docs-team],"],
    ] as const;
    for (const [before, after] of texts) {
      await backend.adoptPolicies(
        policySet([parsePolicy(policy.replace(before, after), "claude.yaml", { bareNames: false })]),
        person(),
      );
      expect(await decided(), after).toBe("REVIEW");
      expect(await backend.release(call, null), after).toMatchObject({
        decision: "BLOCK",
        reason: expect.stringContaining("other terms"),
      });
    }
    await backend.adoptPolicies(
      policySet([parsePolicy(policy, "claude.yaml", { bareNames: false })]),
      person(),
    );
    expect(await decided()).toBe("ALLOW");
    expect((await backend.release(call, null)).decision).toBe("ALLOW");
  });

  test("the lease of a call that a grant let through is renewed as long as the grant was not taken back", async () => {
    const id = await given();
    const write = intent(gateway, "write", usual);
    const calls = [intent(gateway, "write", usual), intent(gateway, "write", usual)];
    for (const call of calls) expect((await backend.decide(call)).decision).toBe("ALLOW");
    expect((await backend.release(calls[0] ?? write, null)).decision).toBe("ALLOW");
    expect(await backend.grants(false)).toMatchObject([{ id, left: 1 }]);
    await backend.revokeGrant(id, person(), "");
    expect((await backend.release(calls[1] ?? write, null)).decision).toBe("BLOCK");
  });
});
