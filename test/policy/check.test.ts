import { describe, expect, it } from "vitest";
import { checkPolicies, type KnownWorld } from "../../src/policy/trial/check.js";
import { setOf } from "./sets.js";

function remarks(files: Readonly<Record<string, string>>, known: KnownWorld = {}): string[] {
  return checkPolicies(setOf(files), known).map(
    ({ level, file, line, message }) => `${level} ${file}:${line} ${message}`,
  );
}

describe("a check of policies", () => {
  it("finds nothing to say about what does as it says", () => {
    expect(
      remarks({ "a.yaml": "agent: a\nallow: [s__x, 's__*']\nblock: ['*__delete_*']\nreview: [s__y]" }),
    ).toEqual([]);
  });

  it("finds rules that a stronger one always comes before", () => {
    const found = remarks({
      "a.yaml": "agent: claude\nallow:\n  - s__x\n  - s__get_a\n  - t__y\nreview: ['t__*']",
      "b.yaml": "agent: '*'\nblock: [s__x, 's__get_*', { action: t__y, when: 'true' }]",
    });
    expect(found).toEqual([
      "warning a.yaml:3 The rule a.yaml:3 allow s__x never decides: b.yaml:2 block s__x blocks all it matches. Remove it, or narrow the other.",
      "warning a.yaml:4 The rule a.yaml:4 allow s__get_a never decides: b.yaml:2 block s__get_* blocks all it matches. Remove it, or narrow the other.",
      "warning a.yaml:5 The rule a.yaml:5 allow t__y never decides: a.yaml:6 review t__* holds all it matches. Remove it, or narrow the other.",
    ]);
    // Not for all of its agents, not in force, not of all its actions.
    expect(
      remarks({
        "a.yaml": "agent: '*'\nallow: [s__x, 's__*', t__x]",
        "b.yaml": "agent: claude\nblock: [s__x]",
        "c.yaml": "agent: '*'\nblock: ['s__a*', { action: t__x, shadow: true }]",
      }),
    ).toEqual([]);
  });

  it("finds patterns that match no action there is", () => {
    const file = {
      "a.yaml":
        "agent: a\nallow: [s__raed, s__read]\nblock: ['t__*', '*']\nlimits: [{ action: 's__*', concurrent: 1 }]\ndata: [{ detect: secrets, then: block, action: 'u__*' }]",
    };
    expect(remarks(file)).toEqual(
      ["warning a.yaml:2", "warning a.yaml:2"].map(() => expect.stringContaining("never decides")),
    );
    expect(remarks(file, { actions: ["s__read"] }).filter((each) => each.includes("no tool"))).toEqual([
      expect.stringContaining("warning a.yaml:2 The pattern s__raed matches no tool"),
      expect.stringContaining("warning a.yaml:3 The pattern t__* matches no tool"),
      expect.stringContaining("warning a.yaml:5 The pattern u__* matches no tool"),
    ]);
  });

  it("finds approvals that nobody can give", () => {
    const approval = (terms: string) => ({
      "a.yaml": `agent: a\nreview: [{ action: s__x, approval: { ${terms} } }]`,
    });
    const approvers = [
      { name: "ada", groups: ["mail-team"] },
      { name: "bob", groups: ["mail-team", "leads"] },
      { name: "bob", groups: ["leads"] },
    ];
    expect(remarks(approval("approvers: [mail-team], quorum: 2"), { approvers })).toEqual([]);
    expect(remarks(approval("approvers: [leads], quorum: 2"), { approvers })).toEqual([
      "error a.yaml:2 The rule a.yaml:2 review s__x can never be approved: it asks for 2 people in leads, and there is 1. Make tokens for them, or ask for fewer.",
    ]);
    expect(remarks(approval("quorum: 3"), { approvers })[0]).toContain("there are 2");
    expect(remarks(approval("approvers: [nobody]"), { approvers })[0]).toContain(
      "1 person in nobody, and there are 0",
    );
    expect(remarks(approval("approvers: [nobody]"))).toEqual([]);
    expect(remarks(approval("channels: [client], quorum: 2"))[0]).toContain("error a.yaml:2");
    expect(remarks(approval("channels: [client]"))).toEqual([]);
  });

  it("refuses nothing for what is only in shadow: it holds no call", () => {
    const files = (shadow: string) => ({
      "a.yaml": `agent: a\n${shadow}review: [{ action: s__x, approval: { approvers: [nobody], channels: [page] } }]`,
      "b.yaml": "agent: '*'\nreview: [{ action: 's__*', approval: { channels: [cli] } }]",
    });
    const levels = (shadow: string) =>
      checkPolicies(setOf(files(shadow)), { approvers: [{ name: "ada", groups: [] }] }).map(
        ({ level, message }) => `${level} ${/never be approved( together)?/.exec(message)?.[0]}`,
      );
    const both = ["never be approved", "never be approved together"];
    expect(levels("").toSorted()).toEqual(both.map((each) => `error ${each}`));
    expect(levels("shadow: true\n").toSorted()).toEqual(both.map((each) => `warning ${each}`));
  });

  it("finds rules that ask for channels with nothing in common", () => {
    const [found] = remarks({
      "a.yaml": "agent: a\nreview: [{ action: s__x, approval: { channels: [page] } }]",
      "b.yaml": "agent: '*'\nreview: [{ action: 's__*', approval: { channels: [cli] } }]",
    });
    expect(found).toContain(
      "error b.yaml:2 The rules a.yaml:2 review s__x and b.yaml:2 review s__* can never be approved together",
    );
  });

  it("takes thousands of rules", () => {
    const rules = Array.from({ length: 5_000 }, (_, index) => `  - "s${index % 100}__get_${index}_*"`).join(
      "\n",
    );
    const started = performance.now();
    expect(remarks({ "a.yaml": `agent: a\nallow:\n${rules}\nblock: ['s7__get_7_*']` })).toHaveLength(1);
    expect(performance.now() - started).toBeLessThan(3_000);
  });
});
