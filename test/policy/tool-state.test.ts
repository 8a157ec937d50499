import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import type { ToolFacts } from "../../src/policy/policy.js";
import { ask, setOf } from "./sets.js";

type State = ToolFacts["state"];

function under(policy: string, state: State, suspicious: string | null = null, bareNames = false) {
  const known = { state, suspicious, claims: { readOnlyHint: true } };
  return decide(setOf({ "p.yaml": `agent: claude\n${policy}` }, bareNames), { ...ask("s", "x"), known });
}

describe("a tool that nobody has accepted as it is (D1, D2)", () => {
  it.each<[policy: string, decisions: readonly [State, string][]]>([
    [
      "allow: [s__x]",
      [
        ["accepted", "ALLOW"],
        ["new", "ALLOW"],
        ["added", "ALLOW"],
        ["changed", "REVIEW"],
      ],
    ],
    [
      "allow: ['s__*']",
      [
        ["accepted", "ALLOW"],
        ["new", "ALLOW"],
        ["added", "REVIEW"],
        ["changed", "REVIEW"],
      ],
    ],
    [
      "allow: ['*__x']",
      [
        ["accepted", "ALLOW"],
        ["new", "REVIEW"],
        ["added", "REVIEW"],
        ["changed", "REVIEW"],
      ],
    ],
    [
      "allow: ['*']",
      [
        ["accepted", "ALLOW"],
        ["new", "REVIEW"],
        ["added", "REVIEW"],
        ["changed", "REVIEW"],
      ],
    ],
    [
      "default: allow",
      [
        ["accepted", "ALLOW"],
        ["new", "REVIEW"],
        ["added", "REVIEW"],
        ["changed", "REVIEW"],
      ],
    ],
    [
      "default: allow\non_change: allow",
      [
        ["new", "ALLOW"],
        ["added", "ALLOW"],
        ["changed", "ALLOW"],
      ],
    ],
    [
      "allow: [s__x]\non_change: block",
      [
        ["accepted", "ALLOW"],
        ["new", "ALLOW"],
        ["changed", "BLOCK"],
      ],
    ],
    [
      "review: [s__x]\non_change: block",
      [
        ["new", "REVIEW"],
        ["added", "REVIEW"],
        ["changed", "BLOCK"],
      ],
    ],
    [
      "review: ['*']",
      [
        ["new", "REVIEW"],
        ["changed", "REVIEW"],
      ],
    ],
    [
      "on_change: block",
      [
        ["accepted", "REVIEW"],
        ["new", "BLOCK"],
        ["changed", "BLOCK"],
      ],
    ],
    [
      "block: [s__x]\non_change: allow",
      [
        ["accepted", "BLOCK"],
        ["changed", "BLOCK"],
      ],
    ],
  ])("is allowed by a rule that means it, and by nothing else: %s", (policy, decisions) => {
    for (const [state, decision] of decisions) expect(under(policy, state).decision, state).toBe(decision);
  });

  it("is told from others by which rule names it, not by which comes first", () => {
    for (const policy of ["allow: ['*__x', 's__*']", "allow: ['s__*', '*__x']"])
      expect(under(policy, "new").decision).toBe("ALLOW");
  });

  it("is meant by its own name where one server is governed", () => {
    expect(under("allow: [x]", "added", null, true).decision).toBe("ALLOW");
    expect(under("allow: ['x*']", "new", null, true).decision).toBe("ALLOW");
    expect(under("allow: ['x*']", "added", null, true).decision).toBe("REVIEW");
    expect(under("allow: ['*']", "new", null, true).decision).toBe("REVIEW");
  });

  it("comes with a reason that says what changed and what to do", () => {
    expect(under("allow: [s__x]", "changed").reason).toBe(
      "A person must decide: the tool s__x is not what it was: its definition, or its server's instructions, changed. " +
        'See it with "aegis tools diff", accept it with "aegis tools accept s x".',
    );
    expect(under("on_change: block", "new").reason).toMatch(/^Blocked: the tool s__x is new/);
  });

  it("follows the strictest on_change that is stated, of the files that count", () => {
    const known = { state: "changed", suspicious: null, claims: {} } as const;
    const files = { "a.yaml": "agent: claude\nallow: [s__x]\non_change: allow", "b.yaml": "agent: claude" };
    const asked = { ...ask("s", "x"), known };
    expect(decide(setOf(files), asked).decision).toBe("ALLOW");
    expect(decide(setOf({ ...files, "c.yaml": "agent: '*'\non_change: block" }), asked).decision).toBe(
      "BLOCK",
    );
    expect(decide(setOf({ ...files, "c.yaml": "agent: b\non_change: block" }), asked).decision).toBe("ALLOW");
    const hidden = decide(
      setOf({ ...files, "c.yaml": "agent: claude\nshadow: true\non_change: block" }),
      asked,
    );
    expect(hidden).toMatchObject({ decision: "ALLOW", shadow: { decision: "BLOCK", rule: null } });
  });

  it("offers no grant where its rule would not let it through (A21)", () => {
    const policy = "review: [{ action: 's__*', approval: { grant: { uses: 2, expires: 1h } } }]";
    expect(under(policy, "accepted").requirement?.grant).toEqual({
      uses: 2,
      expires: 3_600_000,
      arguments: {},
    });
    expect(under(policy, "changed")).not.toHaveProperty("requirement");
  });
});

describe("a tool that may be taken for another (D3, P14)", () => {
  it.each([
    ["allow: [s__x]", "ALLOW"],
    ["allow: ['s__*']", "REVIEW"],
    ["default: allow", "REVIEW"],
    ["default: block\nallow: ['*']", "BLOCK"],
    ["on_change: allow\nallow: ['*']", "REVIEW"],
  ])("is allowed by its whole action only: %s", (policy, decision) => {
    expect(under(policy, "accepted", "It looks like t__x").decision).toBe(decision);
    expect(under("allow: [x]", "accepted", "It looks like t__x", true).decision).toBe("REVIEW");
  });

  it("says why", () => {
    expect(under("default: allow", "accepted", "Its name looks like t__x\u202e").reason).toMatch(
      /^Its name looks like t__x\\u202e: no wildcard/,
    );
  });

  it("does not become looser by what its server claims (D4)", () => {
    expect(under("block: [s__x]", "accepted").decision).toBe("BLOCK");
    expect(under("default: review", "accepted").decision).toBe("REVIEW");
  });
});
