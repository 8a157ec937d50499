import { describe, expect, test } from "vitest";
import { grantedTerms, mayDecide, problemOfApproval } from "../../src/backend/approvals/rights.js";
import { samePerson } from "../../src/backend/approvals/votes.js";
import { decidersOf } from "../../src/backend/approvals/who-can-decide.js";
import type { Principal, Token } from "../../src/client/backend.js";
import type { Channel, Requirement } from "../../src/requirement.js";
import { noRequirement } from "../../src/requirement.js";

const row = { id: 7, agent: "claude-desktop", principal: "Ada" };
const by = (name: string, groups: readonly string[] = [], over: Partial<Principal> = {}): Principal => ({
  name,
  role: "approver",
  agent: null,
  groups,
  token: 1,
  ...over,
});
const asks = (over: Partial<Requirement>): Requirement => ({ ...noRequirement, ...over });

describe("who may decide an approval", () => {
  const mail = asks({ approvers: [["mail-team"]] });
  const both = asks({ approvers: [["mail-team", "leads"], ["owners"]] });
  test.each<[string, Requirement, Principal, Channel, RegExp | null]>([
    ["anybody with the role", noRequirement, by("bob"), "cli", null],
    ["not whoever called", noRequirement, by("Ada"), "cli", /made this call/],
    ["nor in another case", noRequirement, by("aDA"), "cli", /made this call/],
    ["nor with other spaces", noRequirement, by("A d\u00a0a "), "cli", /made this call/],
    ["nor in full-width letters", noRequirement, by("\uff21da"), "page", /made this call/],
    ["nor by the agent's name", noRequirement, by("Claude-Desktop"), "cli", /made this call/],
    ["nor a token of an agent", noRequirement, by("bob", [], { agent: "other" }), "cli", /made this call/],
    ["one in the group", mail, by("bob", ["x", "mail-team"]), "cli", null],
    ["nobody outside of it", mail, by("bob", ["x"]), "cli", /approval 7: its rule asks for mail-team\./],
    ["no admin outside of it", mail, by("bob", [], { role: "admin" }), "cli", /asks for mail-team\./],
    ["nobody of the system", mail, by("os:bob", [], { role: "admin", token: null }), "cli", /mail-team/],
    ["nobody in another case of it", mail, by("bob", ["Mail-Team"]), "cli", /mail-team/],
    ["one of each list", both, by("bob", ["leads", "owners"]), "cli", null],
    ["not of one list alone", both, by("bob", ["leads", "mail-team"]), "cli", /asks for owners\./],
    ["not of none", both, by("bob"), "cli", /asks for one of mail-team, leads, and owners\./],
    ["by a page", asks({ channels: ["page"] }), by("bob"), "page", null],
    ["not by another way", asks({ channels: ["page"] }), by("bob"), "cli", /on its page/],
    ["not in the client", noRequirement, by("bob"), "client", /by `aegis approve` or the API or on its page/],
    ["in the client where it is listed", asks({ channels: ["client"] }), by("bob"), "client", null],
    ["in no way, if there is none", asks({ channels: [] }), by("bob"), "cli", /in no way at all/],
  ])("%s", (_, requirement, principal, channel, refused) => {
    const error = mayDecide(row, requirement, principal, channel);
    if (refused === null) expect(error).toBeNull();
    else expect(error).toMatchObject({ code: "not_permitted", message: expect.stringMatching(refused) });
  });
});

describe("an approval counts", () => {
  const wanted = asks({ reason: true });
  test.each([
    ["fine", true] as const,
    [" ", false] as const,
    ["", false] as const,
    ["\u200b\u2060", false] as const,
  ])("where a reason is asked for, with %j: %s", (reason, counts) => {
    expect(problemOfApproval(row, wanted, reason, "cli") === null).toBe(counts);
    expect(problemOfApproval(row, noRequirement, reason, "cli")).toBeNull();
  });

  test("in the client only where one is enough", () => {
    expect(problemOfApproval(row, asks({ channels: ["client"] }), "", "client")).toBeNull();
    expect(problemOfApproval(row, asks({ channels: ["client"], quorum: 2 }), "", "client")).toMatchObject({
      code: "not_permitted",
    });
  });
});

describe("what is granted", () => {
  const offer = { uses: 5, expires: 60_000, arguments: { path: "/srv/*" } };
  test.each([
    [{}, { uses: 5, expires: 60_000 }],
    [{ uses: 1 }, { uses: 1, expires: 60_000 }],
    [
      { uses: 5, expires: 1 },
      { uses: 5, expires: 1 },
    ],
    [{ uses: 6 }, null],
    [{ uses: 0 }, null],
    [{ uses: -1 }, null],
    [{ uses: 1.5 }, null],
    [{ uses: Number.NaN }, null],
    [{ expires: 60_001 }, null],
    [{ expires: 0 }, null],
    [{ expires: Number.POSITIVE_INFINITY }, null],
  ])("of %j", (asked, given) => {
    const said = grantedTerms(row, asks({ grant: offer }), asked);
    if (given !== null) expect(said).toEqual(given);
    else {
      expect(said).toMatchObject({ code: "usage" });
      expect((said as { hint?: string }).hint).toContain("at most 5 calls within 1m that");
    }
  });

  test("says how long in the words of a policy", () => {
    const said = grantedTerms(row, asks({ grant: offer }), { uses: 9, expires: 600_000 });
    expect((said as Error).message).toMatch(/^9 calls within 10m is not what may be granted/);
  });

  test("nothing, where the policy offers nothing", () => {
    expect(grantedTerms(row, noRequirement, {})).toMatchObject({ code: "not_permitted" });
  });
});

test.each([
  ["bob", "Bob", true],
  ["bob", "b ob", true],
  ["stra\u00dfe", "STRASSE", true],
  ["bob", "b\u043eb", false],
  ["bob", "os:bob", false],
])("%s and %s are one person: %s", (one, other, same) => {
  expect(samePerson(one, other)).toBe(same);
});

test("who can decide: live tokens of deciders, and the person of the operating system", () => {
  const token = (name: string, over: Partial<Token> = {}): Token => ({
    id: 1,
    name,
    role: "approver",
    agent: null,
    groups: [],
    trustDeclared: false,
    createdAt: "2026-01-01T00:00:00.000Z",
    expiresAt: null,
    revokedAt: null,
    ...over,
  });
  const now = Date.parse("2026-06-01T00:00:00.000Z");
  const tokens = [
    token("bob", { groups: ["mail", "leads"] }),
    token("Bob", { groups: ["leads", "mail"] }),
    token("bob", { groups: ["owners"] }),
    token("eve", { role: "agent" }),
    token("ann", { role: "auditor" }),
    token("carol", { role: "admin" }),
    token("gone", { revokedAt: "2026-05-01T00:00:00.000Z" }),
    token("late", { expiresAt: "2026-06-01T00:00:00.000Z" }),
    token("soon", { expiresAt: "2026-06-01T00:00:00.001Z" }),
  ];
  const all = [
    { name: "bob", groups: ["mail", "leads"] },
    { name: "bob", groups: ["owners"] },
    { name: "carol", groups: [] },
    { name: "soon", groups: [] },
  ];
  expect(decidersOf(tokens, null, now)).toEqual(all);
  expect(decidersOf([], "os:ada", now)).toEqual([{ name: "os:ada", groups: [] }]);
});
