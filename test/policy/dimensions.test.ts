import { describe, expect, it } from "vitest";
import { countsNeeded } from "../../src/policy/counts.js";
import { dataRulesFor, findingsDecision } from "../../src/policy/data.js";
import { decide } from "../../src/policy/decide.js";
import { countKey, type PolicySet, type Question } from "../../src/policy/policy.js";
import { ask, setOf } from "./sets.js";

/** Where so many calls were counted, for every limit. */
function counted(set: PolicySet, question: Question, count: number) {
  const counts = new Map(countsNeeded(set, question).map((key) => [countKey(key), count]));
  return decide(set, { ...question, counts });
}

describe("a limit", () => {
  const set = setOf({
    "p.yaml": [
      "agent: claude",
      "allow: ['mail__*', t__x]",
      "block: [mail__delete]",
      "review: [mail__send]",
      "limits:",
      "  - { action: 'mail__*', calls: 2, per: 1h, reason: Ask Ada. }",
      "  - { action: t__x, concurrent: 1 }",
    ].join("\n"),
  });

  it("refuses for now, and says how many, and when to try again", () => {
    expect(counted(set, ask("mail", "read"), 1)).toMatchObject({ decision: "ALLOW" });
    expect(counted(set, ask("mail", "read"), 2)).toEqual({
      decision: "BLOCK",
      rule: "p.yaml:6 limits mail__*",
      reason:
        "Blocked for now by the limit p.yaml:6 limits mail__* (Ask Ada.): 2 such calls were let through in the last 1h. Try again in at most 1h.",
      passing: true,
    });
    expect(counted(set, ask("t", "x"), 1).reason).toBe(
      "Blocked for now by the limit p.yaml:7 limits t__x: 1 such call is running. Try again when one has ended.",
    );
  });

  it("counts for what would be held too, and never hides a refusal that stays", () => {
    expect(counted(set, ask("mail", "send"), 1).decision).toBe("REVIEW");
    expect(counted(set, ask("mail", "send"), 2)).toMatchObject({ decision: "BLOCK", passing: true });
    const refused = counted(set, ask("mail", "delete"), 2);
    expect(refused.rule).toBe("p.yaml:3 block mail__delete");
    expect(refused).not.toHaveProperty("passing");
  });

  it("asks for its counts where it speaks of the call, and blocks without them", () => {
    expect(countsNeeded(set, ask("mail", "read"))).toEqual([{ pattern: "mail__*", window: 3_600_000 }]);
    expect(countsNeeded(set, ask("t", "x"))).toEqual([{ pattern: "t__x", window: null }]);
    expect(countsNeeded(set, ask("u", "x"))).toEqual([]);
    expect(decide(set, ask("mail", "read"))).toMatchObject({ decision: "BLOCK", error: true });
    expect(decide(set, ask("mail", "read"))).not.toHaveProperty("passing");
  });
});

describe("rules for data", () => {
  const set = setOf({
    "p.yaml": [
      "agent: claude",
      "allow: ['*']",
      "data:",
      "  - { detect: custom, name: ticket, pattern: 'TCK-[0-9]+', then: redact }",
      "  - { detect: custom, name: plan, pattern: 'PLAN-[0-9]+', then: review, in: arguments }",
      "  - { detect: custom, name: key, pattern: 'KEY-[0-9]+', then: block, action: 'mail__*', reason: Never by mail }",
      "  - { detect: secrets, then: block, in: results }",
      "  - { detect: custom, name: hidden, pattern: 'HID', then: block, shadow: true }",
    ].join("\n"),
  });
  const said = (text: string, server = "mail") => decide(set, { ...ask(server, "x"), args: { a: [text] } });

  it("block, hold or leave alone what the arguments hold", () => {
    expect(said("TCK-1").decision).toBe("ALLOW");
    expect(said("PLAN-1")).toMatchObject({ decision: "REVIEW", rule: "p.yaml:5 data plan" });
    expect(said("KEY-1")).toEqual({
      decision: "BLOCK",
      rule: "p.yaml:6 data key",
      reason: "Never by mail",
    });
    expect(said("KEY-1 PLAN-1").decision).toBe("BLOCK");
    expect(said("KEY-1", "files").decision).toBe("ALLOW");
    expect(said("HID")).toMatchObject({ decision: "ALLOW", shadow: { decision: "BLOCK" } });
  });

  it("are told apart by where they look, without those in shadow", () => {
    const names = (where: "arguments" | "results") =>
      dataRulesFor(set, ask("mail", "x"), where).map(({ name }) => name);
    expect(names("arguments")).toEqual(["ticket", "plan", "key"]);
    expect(names("results")).toEqual(["ticket", "key", "secrets"]);
    expect(dataRulesFor(set, ask("files", "x"), "results").map(({ name }) => name)).toEqual([
      "ticket",
      "secrets",
    ]);
    expect(dataRulesFor(set, ask("mail", "x", "other"), "results")).toEqual([]);
  });

  it("decide by what was found before the arguments were redacted, where that is known", () => {
    const found = dataRulesFor(set, ask("mail", "x"), "arguments").filter(({ name }) => name !== "plan");
    const question = { ...ask("mail", "x"), args: { a: "[key]" } };
    expect(decide(set, { ...question, found })).toMatchObject({
      decision: "BLOCK",
      rule: "p.yaml:6 data key",
    });
    expect(decide(set, { ...question, found: [] }).decision).toBe("ALLOW");
    expect(decide(set, { ...question, args: { a: "HID" }, found: [] })).toHaveProperty("shadow");
  });

  it("say of a result what they say of arguments", () => {
    const [ticket, plan, key] = dataRulesFor(set, ask("mail", "x"), "arguments");
    if (ticket === undefined || plan === undefined || key === undefined) throw new Error("unreachable");
    expect(findingsDecision([ticket], "results")).toBeNull();
    expect(findingsDecision([ticket, plan], "results")).toMatchObject({
      decision: "REVIEW",
      reason: "A person must decide: the result holds plan, says the rule p.yaml:5 data plan.",
    });
    expect(findingsDecision([plan, key], "results")?.decision).toBe("BLOCK");
  });
});

describe("what an approval takes", () => {
  it("is what every matching review rule asks for together", () => {
    const review = (terms: string, when = "true") =>
      `  - { action: s__x, when: '${when}', approval: { ${terms} } }`;
    const set = setOf({
      "p.yaml": [
        "agent: claude",
        "review:",
        review("approvers: [docs, leads], quorum: 2, channels: [cli, page, client], expires: 2h"),
        review("approvers: [owners], reason: required, channels: [page, client]"),
        review("quorum: 3, expires: 1h", "args.large"),
      ].join("\n"),
    });
    const requirement = {
      approvers: [["docs", "leads"], ["owners"]],
      quorum: 2,
      reason: true,
      channels: ["page", "client"],
      grant: null,
    };
    const asked = ask("s", "x");
    expect(decide(set, { ...asked, args: { large: false } })).toMatchObject({
      requirement,
      expires: 7_200_000,
    });
    expect(decide(set, { ...asked, args: { large: true } })).toMatchObject({
      requirement: { ...requirement, quorum: 3 },
      expires: 3_600_000,
    });
  });

  it("offers a grant only where all matching rules offer the same, and data asks for nobody", () => {
    const offer = (uses: number, path: string, when: string) =>
      `  - { action: s__x, when: '${when}', approval: { grant: { uses: ${uses}, expires: ${uses}h, arguments: { path: "${path}" } } } }`;
    const set = setOf({
      "p.yaml": [
        "agent: claude",
        "review:",
        offer(5, "/srv/*", "true"),
        offer(3, "/srv/*", "args.second"),
        offer(9, "/*", "args.other"),
        "  - { action: s__x, when: args.plain }",
        "data: [{ detect: custom, name: t, pattern: 'TCK', then: review }]",
      ].join("\n"),
    });
    const no = { second: false, other: false, plain: false };
    const grant = (args: object) =>
      decide(set, { ...ask("s", "x"), args: { ...no, ...args } }).requirement?.grant;
    expect(grant({})).toEqual({ uses: 5, expires: 18_000_000, arguments: { path: "/srv/*" } });
    expect(grant({ second: true })?.uses).toBe(3);
    for (const args of [{ other: true }, { plain: true }, { note: "TCK" }])
      expect(grant(args) ?? null).toBeNull();
  });
});

describe("what is in shadow", () => {
  it("is told where it would decide something else, and changes nothing", () => {
    const set = setOf({
      "a.yaml": "agent: claude\nallow: [s__x, s__y]",
      "b.yaml":
        "agent: claude\nshadow: true\ndefault: block\nblock: [{ action: s__x, when: 'args.n > 5' }]\nlimits: [{ action: s__y, concurrent: 1 }]",
    });
    const at = (n: unknown) => decide(set, { ...ask("s", "x"), args: { n } });
    expect(at(1)).not.toHaveProperty("shadow");
    const would = { decision: "BLOCK", rule: "b.yaml:4 block s__x" };
    expect(at(6)).toMatchObject({ decision: "ALLOW", rule: "a.yaml:2 allow s__x", shadow: would });
    // An error of a shadow is one of what it would have done, and no error of the call.
    expect(at("6")).toMatchObject({ decision: "ALLOW", shadow: would });
    expect(at("6")).not.toHaveProperty("error");
    expect(counted(set, ask("s", "y"), 1)).toMatchObject({
      decision: "ALLOW",
      shadow: { decision: "BLOCK" },
    });
    expect(decide(set, ask("s", "z"))).toMatchObject({
      decision: "REVIEW",
      shadow: { decision: "BLOCK", rule: null },
    });
  });
});

it("what throws inside blocks the call, and tells nothing of it (P10)", () => {
  const set = setOf({ "p.yaml": "agent: claude\nallow: ['*']\nservers: { block: [evil.com] }" });
  const args = new Proxy(
    {},
    {
      ownKeys: () => {
        throw new Error("canary");
      },
    },
  );
  expect(decide(set, { ...ask("s", "x"), args })).toEqual({
    decision: "BLOCK",
    rule: null,
    reason: "policy_error: the policy could not be evaluated for this call. The call is blocked.",
    error: true,
  });
  expect(decide(set, { ...ask("s", "x"), args: {} }).decision).toBe("ALLOW");
});
