import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import type { Question } from "../../src/policy/policy.js";
import { ask, setOf } from "./sets.js";

describe("a decision", () => {
  it("is REVIEW where nothing is said", () => {
    expect(decide(setOf({}), ask("s", "x"))).toEqual({
      decision: "REVIEW",
      rule: null,
      reason: "No policy speaks of this agent: the default is review.",
    });
  });

  it("names the rule by the file's own name, its line, list and pattern", () => {
    const set = setOf({ "some/folder/claude.yaml": "agent: claude\nallow:\n  - files__*" });
    expect(decide(set, ask("files", "read"))).toEqual({
      decision: "ALLOW",
      rule: "claude.yaml:3 allow files__*",
      reason: "Allowed by the rule claude.yaml:3 allow files__*.",
    });
  });

  it("gives the operator's reason as it stands", () => {
    const set = setOf({ "p.yaml": 'agent: "*"\nblock: [{ action: s__x, reason: "Ask Ada, not me." }]' });
    expect(decide(set, ask("s", "x"))).toMatchObject({ decision: "BLOCK", reason: "Ask Ada, not me." });
  });

  it("is BLOCK over REVIEW over ALLOW, across files and whatever is more exact", () => {
    const set = setOf({
      "a.yaml": 'agent: "*"\nallow: [s__x, s__y, s__z]\nreview: ["*__y", "*__z"]',
      "b.yaml": 'agent: claude\nblock: ["*__z"]',
    });
    expect(decide(set, ask("s", "x")).decision).toBe("ALLOW");
    expect(decide(set, ask("s", "y")).decision).toBe("REVIEW");
    expect(decide(set, ask("s", "z")).decision).toBe("BLOCK");
    expect(decide(set, ask("s", "z", "cursor")).decision).toBe("REVIEW");
  });

  it("hears only the files that speak of the agent", () => {
    const set = setOf({
      "a.yaml": "agent: claude-*\nallow: [s__x]",
      "b.yaml": "agent: claude\nblock: [s__x]",
    });
    expect(decide(set, ask("s", "x", "claude-desktop")).decision).toBe("ALLOW");
    expect(decide(set, ask("s", "x", "claude")).decision).toBe("BLOCK");
    expect(decide(set, ask("s", "x", "xclaude-desktop")).decision).toBe("REVIEW");
    expect(decide(set, ask("s", "x", "claude\n")).decision).toBe("REVIEW");
  });

  it("falls to the strictest default that is stated, and only where no rule matches", () => {
    const files = { "a.yaml": "agent: claude\ndefault: allow\nreview: [s__y]", "b.yaml": 'agent: "*"' };
    const allowing = setOf(files);
    expect(decide(allowing, ask("s", "x"))).toEqual({
      decision: "ALLOW",
      rule: null,
      reason: "No rule of a.yaml, b.yaml matches: the default is allow.",
    });
    expect(decide(allowing, ask("s", "y")).decision).toBe("REVIEW");
    const blocking = setOf({ ...files, "c.yaml": "agent: c*\ndefault: block\nallow: [s__z]" });
    expect(decide(blocking, ask("s", "x")).decision).toBe("BLOCK");
    expect(decide(blocking, ask("s", "z")).decision).toBe("ALLOW");
    expect(decide(setOf({ "a.yaml": "agent: claude" }), ask("s", "x")).decision).toBe("REVIEW");
  });

  it("reads a pattern without __ against the tool's own name where one server is governed", () => {
    const set = setOf({ "p.yaml": "agent: claude\nallow: [read_*, get, my__tool, files__my__tool]" }, true);
    expect(decide(set, ask("files", "read_file")).decision).toBe("ALLOW");
    expect(decide(set, ask("files", "get"))).toMatchObject({ decision: "ALLOW", rule: "p.yaml:2 allow get" });
    expect(decide(set, ask("files", "unread_file")).decision).toBe("REVIEW");
    expect(decide(set, ask("get", "other")).decision).toBe("REVIEW");
    expect(decide(set, ask("files", "my__tool")).rule).toBe("p.yaml:2 allow files__my__tool");
  });

  it("carries the shortest expiry of the review rules that match, and none elsewhere", () => {
    const set = setOf({
      "p.yaml": [
        "agent: claude",
        "review:",
        "  - s__x",
        "  - { action: 's__*', approval: { expires: 2h } }",
        "  - { action: '*__x', approval: { expires: 30m } }",
        "block: [s__z]",
      ].join("\n"),
    });
    expect(decide(set, ask("s", "x"))).toMatchObject({ rule: "p.yaml:3 review s__x", expires: 1_800_000 });
    expect(decide(set, ask("s", "y")).expires).toBe(7_200_000);
    expect(decide(set, ask("s", "z"))).not.toHaveProperty("expires");
    expect(decide(set, ask("t", "y"))).not.toHaveProperty("expires");
  });

  it("is the default for tools named like what every object has (P7)", () => {
    const set = setOf({ "p.yaml": "agent: claude\nallow: [s__x]\ndefault: block" }, true);
    for (const tool of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
      expect(decide(set, ask("s", tool)).decision).toBe("BLOCK");
      expect(decide(set, { agent: "claude", server: "s", tool, action: tool }).decision).toBe("BLOCK");
      expect(decide(set, ask("s", "x", tool)).decision).toBe("REVIEW");
    }
    const named = setOf({ "p.yaml": "agent: constructor\nallow: [s____proto__]" });
    expect(decide(named, ask("s", "__proto__", "constructor")).decision).toBe("ALLOW");
  });

  it("names the same rule of two that say the same, whichever file was read first", () => {
    const text = "agent: claude\nblock: [s__x]";
    for (const names of [
      ["a.yaml", "b.yaml"],
      ["b.yaml", "a.yaml"],
    ]) {
      const set = setOf(Object.fromEntries(names.map((name) => [name, text])));
      expect(decide(set, ask("s", "x")).rule).toBe("a.yaml:2 block s__x");
    }
  });

  it("is of the tool that is called, where two servers have the same action for two tools (P16)", () => {
    const set = setOf({ "p.yaml": "agent: claude\nallow: [c]" }, true);
    const one: Question = { agent: "claude", server: "a__b", tool: "c", action: "a__b__c" };
    const other: Question = { agent: "claude", server: "a", tool: "b__c", action: "a__b__c" };
    for (const [question, decision] of [
      [one, "ALLOW"],
      [other, "REVIEW"],
      [one, "ALLOW"],
    ] as const)
      expect(decide(set, question).decision).toBe(decision);
  });

  it("stays the same however many agents were asked about in between", () => {
    const set = setOf({ "p.yaml": 'agent: "a*"\nallow: [s__x]' });
    for (let agent = 0; agent < 3_000; agent++) decide(set, ask("s", "x", `b${agent}`));
    expect(decide(set, ask("s", "x", "a1")).decision).toBe("ALLOW");
    expect(decide(set, ask("s", "x", "b1")).decision).toBe("REVIEW");
  });

  it("looks exact names up, whatever the number of rules", () => {
    const rules = Array.from({ length: 20_000 }, (_, index) => `  - s__tool_${index}`);
    const set = setOf({ "p.yaml": `agent: claude\nallow:\n${rules.join("\n")}` });
    decide(set, ask("s", "tool_0"));
    const started = performance.now();
    for (let index = 0; index < 20_000; index += 4) decide(set, ask("s", `tool_${index}`));
    // Asking each rule in turn would be 10⁸ comparisons.
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});

describe("a tool whose name may pass for another (P14)", () => {
  const unusual = [
    "d\u0435lete_file",
    "read\u200dfile",
    "\u202eread",
    "ｒｅａｄ",
    "read file",
    "read\n",
    "read\u0000",
    "",
    "a".repeat(129),
    "read/file",
  ];
  const allowing = setOf({ "p.yaml": 'agent: "*"\ndefault: allow\nallow: ["*", "s__*"]' });

  it.each(unusual)("%j inherits no ALLOW from a wildcard or a default", (tool) => {
    const defaulting = setOf({ "p.yaml": 'agent: "*"\ndefault: allow' });
    for (const set of [allowing, defaulting]) {
      const { decision, rule, reason } = decide(set, ask("s", tool));
      expect({ decision, rule }).toEqual({ decision: "REVIEW", rule: null });
      expect(reason).toContain("only a rule with exactly this name");
    }
  });

  it("is allowed by a rule with exactly its name", () => {
    const rules = unusual.map((tool) => JSON.stringify(`s__${tool}`)).join(", ");
    const set = setOf({ "p.yaml": `agent: "*"\nallow: [${rules}]` });
    for (const tool of unusual) expect(decide(set, ask("s", tool)).decision).toBe("ALLOW");
  });

  it("is still blocked and reviewed by wildcards and defaults", () => {
    const blocking = setOf({ "p.yaml": 'agent: "*"\nallow: ["*"]\nblock: ["*__d*"]' });
    expect(decide(blocking, ask("s", "d\u0435lete_file")).decision).toBe("BLOCK");
    const defaulting = setOf({ "p.yaml": 'agent: "*"\ndefault: block' });
    expect(decide(defaulting, ask("s", "d\u0435lete_file")).decision).toBe("BLOCK");
    const wildcard = setOf({ "p.yaml": 'agent: "*"\ndefault: block\nallow: ["*"]' });
    expect(decide(wildcard, ask("s", "d\u0435lete_file")).decision).toBe("BLOCK");
    expect(decide(wildcard, ask("s", "delete_file")).decision).toBe("ALLOW");
  });

  it("is what ordinary names are not, upper case and 128 characters included", () => {
    for (const tool of ["DELETE_FILE", "a.b-c_d", "a".repeat(128)]) {
      expect(decide(allowing, ask("s", tool)).decision).toBe("ALLOW");
    }
  });
});
