import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import { explain } from "../../src/policy/trial/explain.js";
import { ask, setOf } from "./sets.js";

const set = setOf({
  "a.yaml": "agent: claude\nallow:\n  - s__x\n  - s__*\nreview:\n  - { action: s__y, reason: Look twice }",
  "b.yaml": "agent: cursor\nblock: [s__x]",
});

describe("an explanation", () => {
  it("shows every rule that was considered, the strongest first, and which won", () => {
    const asked = ask("s", "y");
    const { decision, rules } = explain(set, asked);
    expect(decision).toEqual(decide(set, asked));
    expect(rules).toEqual([
      {
        rule: "a.yaml:6 review s__y",
        file: "a.yaml",
        line: 6,
        list: "review",
        pattern: "s__y",
        reason: "Look twice",
        when: null,
        shadow: false,
        condition: null,
        matched: true,
        won: true,
      },
      {
        rule: "a.yaml:3 allow s__x",
        file: "a.yaml",
        line: 3,
        list: "allow",
        pattern: "s__x",
        reason: null,
        when: null,
        shadow: false,
        condition: null,
        matched: false,
        won: false,
      },
      {
        rule: "a.yaml:4 allow s__*",
        file: "a.yaml",
        line: 4,
        list: "allow",
        pattern: "s__*",
        reason: null,
        when: null,
        shadow: false,
        condition: null,
        matched: true,
        won: false,
      },
    ]);
  });

  it("shows which files speak of the agent", () => {
    const { files } = explain(set, ask("s", "x", "cursor"));
    expect(files).toEqual([
      { file: "a.yaml", agent: "claude", applies: false, default: null, shadow: false },
      { file: "b.yaml", agent: "cursor", applies: true, default: null, shadow: false },
    ]);
  });

  it("shows no winner where a default decides, or the name is too unusual for a wildcard", () => {
    expect(explain(set, ask("t", "x")).rules.some(({ won }) => won)).toBe(false);
    const { decision, rules } = explain(set, ask("s", "d\u0435l"));
    expect(decision.decision).toBe("REVIEW");
    expect(rules.find(({ pattern }) => pattern === "s__*")).toMatchObject({ matched: true, won: false });
  });

  it("marks one winner only, of two rules that read alike", () => {
    const twice = setOf({ "a.yaml": "agent: claude\nallow: [s__x, s__x]" });
    expect(explain(twice, ask("s", "x")).rules.map(({ won }) => won)).toEqual([true, false]);
  });

  it("shows conditions, shadows, and the limits, hosts and rules for data beside them", () => {
    const whole = setOf({
      "a.yaml": [
        "agent: claude",
        "allow:",
        "  - { action: s__x, when: 'args.n < 5' }",
        "  - { action: s__x, when: 'args.n >= 5.0' }",
        "  - { action: s__x, when: 'args.missing' }",
        "  - { action: s__y, when: 'args.missing' }",
        "block: [{ action: s__x, shadow: true }]",
        "limits: [{ action: 's__*', concurrent: 1 }]",
        "servers: { block: [evil.com] }",
        "data: [{ detect: secrets, then: block, action: 't__*' }]",
      ].join("\n"),
    });
    const { decision, rules, entries } = explain(whole, { ...ask("s", "x"), args: { n: 3 } });
    expect(decision).toMatchObject({ decision: "BLOCK", error: true });
    expect(rules.map(({ condition, matched, won, shadow }) => [condition, matched, won, shadow])).toEqual([
      [null, true, false, true],
      ["true", true, false, false],
      ["false", false, false, false],
      ["error: args.missing is missing; ask for it first: `has(args.missing) && …`", true, true, false],
      [null, false, false, false],
    ]);
    expect(entries.map(({ rule, kind, matched }) => [rule, kind, matched])).toEqual([
      ["a.yaml:9 servers block evil.com", "servers", true],
      ["a.yaml:10 data secrets", "data", false],
      ["a.yaml:8 limits s__*", "limits", true],
    ]);
    const evil = { ...ask("s", "z"), args: { url: "https://evil.com" } };
    expect(explain(whole, evil).entries[0]).toMatchObject({ won: true });
  });
});
