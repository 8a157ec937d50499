import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import { explain } from "../../src/policy/explain.js";
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
        list: "review",
        pattern: "s__y",
        reason: "Look twice",
        matched: true,
        won: true,
      },
      {
        rule: "a.yaml:3 allow s__x",
        list: "allow",
        pattern: "s__x",
        reason: null,
        matched: false,
        won: false,
      },
      {
        rule: "a.yaml:4 allow s__*",
        list: "allow",
        pattern: "s__*",
        reason: null,
        matched: true,
        won: false,
      },
    ]);
  });

  it("shows which files speak of the agent", () => {
    const { files } = explain(set, ask("s", "x", "cursor"));
    expect(files).toEqual([
      { file: "a.yaml", agent: "claude", applies: false, default: null },
      { file: "b.yaml", agent: "cursor", applies: true, default: null },
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
});
