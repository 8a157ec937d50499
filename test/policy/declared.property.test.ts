import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import { type Declared, decideDeclared } from "../../src/policy/declared.js";
import type { List, PolicyFile, PolicySet, Question } from "../../src/policy/policy.js";
import { ask, setOf } from "./sets.js";

const strength = { BLOCK: 0, REVIEW: 1, ALLOW: 2 } as const;

const pattern = fc.constantFrom("sdk__x", "sdk__*", "*__x", "files__x", "*", "sdk__y", "sdk__\u0445");
const list = fc.constantFrom<List>("allow", "block", "review");
const file = fc.record({
  agent: fc.constantFrom("bot", "b*", "other", "*"),
  default: fc.option(list, { nil: null }),
  rules: fc.array(fc.record({ list, pattern }), { maxLength: 3 }),
});
const set = fc.array(file, { maxLength: 3 }).map(
  (files): PolicySet => ({
    revision: "",
    files: files.map(
      (one, number): PolicyFile => ({
        file: `${number}.yaml`,
        agent: one.agent,
        owner: null,
        default: one.default,
        rules: one.rules.map((rule, index) => ({
          ...rule,
          reason: null,
          file: `${number}.yaml`,
          line: index + 1,
        })),
        limits: [],
        hosts: [],
        data: [],
        onChange: null,
      }),
    ),
  }),
);
const question = fc
  .constantFrom("x", "y", "\u0445")
  .map((tool): Question => ({ agent: "bot", server: "sdk", tool, action: `sdk__${tool}` }));
const declaration = fc.record({
  rule: fc.constantFrom("ALLOW" as const, "BLOCK" as const, "REVIEW" as const),
  trusted: fc.boolean(),
});
const declarations = fc.array(declaration, { maxLength: 3 });

/** The operator's files about the agent. */
function applying(policies: PolicySet): readonly PolicyFile[] {
  return policies.files.filter(({ agent }) => ["bot", "b*", "*"].includes(agent));
}

/** Whether any of them says anything of the call, other than by leaving out its default. */
function isStated(policies: PolicySet, asked: Question): boolean {
  const patterns = ["*", "sdk__*", asked.action, ...(asked.tool === "x" ? ["*__x"] : [])];
  return applying(policies).some(
    (one) => one.default !== null || one.rules.some((rule) => patterns.includes(rule.pattern)),
  );
}

describe("what is declared", () => {
  it("never loosens what a file says, and only what is trusted allows anything (Z17)", () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(set, declarations, question, (policies, declared, asked) => {
        const without = decide(policies, asked);
        const stated = isStated(policies, asked);
        const got = decideDeclared(policies, declared, asked);
        const bind = declared.some(({ rule }) => rule !== "ALLOW");
        const governed = applying(policies).length > 0;
        // Of a tool that can pass for another, no declaration allows anything.
        const may = !governed && asked.tool !== "\u0445";
        const trusted = may && declared.some(({ rule, trusted: yes }) => rule === "ALLOW" && yes);
        if (governed) expect(strength[got.decision]).toBeLessThanOrEqual(strength[without.decision]);
        if (got.decision === "ALLOW" && !stated) expect(trusted && !bind).toBe(true);
        for (const { rule } of declared) {
          if (rule !== "ALLOW") expect(strength[got.decision]).toBeLessThanOrEqual(strength[rule]);
        }
        // It says only what somebody said, and who: without a declaration that counts, the file as it was.
        expect(got.stated).toBe(stated || bind || trusted);
        expect(got.rule?.startsWith("declared ") ?? false).toBe(
          got.decision !== without.decision || (!stated && got.stated),
        );
        if (!got.rule?.startsWith("declared ")) expect(got).toEqual({ ...without, stated });
        const kind = `${stated ? "stated" : governed ? "silent" : "absent"} ${without.decision} → ${got.decision}`;
        seen.set(kind, (seen.get(kind) ?? 0) + 1);
      }),
      { numRuns: 10_000 },
    );
    for (const kind of [
      "stated ALLOW → ALLOW",
      "stated ALLOW → BLOCK",
      "stated ALLOW → REVIEW",
      "stated REVIEW → BLOCK",
      "stated BLOCK → BLOCK",
      "silent REVIEW → BLOCK",
      "silent REVIEW → REVIEW",
      "absent REVIEW → ALLOW",
      "absent REVIEW → BLOCK",
      "absent REVIEW → REVIEW",
    ])
      expect(seen.get(kind) ?? 0, kind).toBeGreaterThan(50);
  });

  it("gives the same in any order, and never gets looser by one more that binds", () => {
    fc.assert(
      fc.property(set, declarations, declaration, question, (policies, declared, more, asked) => {
        const got = decideDeclared(policies, declared, asked);
        expect(decideDeclared(policies, declared.toReversed(), asked)).toEqual(got);
        if (more.rule === "ALLOW") return;
        const tighter = decideDeclared(policies, [...declared, more], asked);
        expect(strength[tighter.decision]).toBeLessThanOrEqual(
          Math.min(strength[more.rule], got.stated ? strength[got.decision] : 2),
        );
      }),
      { numRuns: 5_000 },
    );
  });

  it("is named in the decision that follows from it, and a default is a file's word too, stated or not", () => {
    const allow: Declared[] = [{ rule: "ALLOW", trusted: true }];
    const asked = ask("sdk", "pay", "bot");
    expect(decideDeclared(setOf({}), allow, asked)).toMatchObject({
      decision: "ALLOW",
      rule: "declared allow sdk__pay",
    });
    for (const text of ["agent: bot\ndefault: review", "agent: bot\nreview: ['sdk__*']"]) {
      const said = decideDeclared(setOf({ "bot.yaml": text }), allow, asked);
      expect(said.decision, text).toBe("REVIEW");
      expect(said.rule ?? "", text).not.toContain("declared");
    }
    // A file that leaves out its default means `review`; nobody has stated it, though.
    expect(
      decideDeclared(setOf({ "bot.yaml": "agent: bot\nblock: [sdk__other]" }), allow, asked),
    ).toMatchObject({
      decision: "REVIEW",
      rule: null,
      stated: false,
    });
    // A file about another agent is no word about it.
    const other = setOf({ "other.yaml": "agent: other\ndefault: block" });
    expect(decideDeclared(other, allow, asked).decision).toBe("ALLOW");
  });

  it("leaves a file's own expiry and reason where the file is as strict", () => {
    const policies = setOf({
      "bot.yaml": "agent: bot\nreview: [{ action: sdk__pay, reason: Money, approval: { expires: 5m } }]",
    });
    const said = decideDeclared(policies, [{ rule: "REVIEW", trusted: false }], ask("sdk", "pay", "bot"));
    expect(said).toMatchObject({ decision: "REVIEW", reason: "Money", expires: 300_000 });
  });
});
