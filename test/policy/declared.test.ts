import { describe, expect, it } from "vitest";
import { type Declared, decideDeclared } from "../../src/policy/declared.js";
import type { Question, ToolFacts } from "../../src/policy/policy.js";
import { ask, setOf } from "./sets.js";

const allow: Declared[] = [{ rule: "ALLOW", trusted: true }];
const review: Declared[] = [{ rule: "REVIEW", trusted: false }];

function of(state: ToolFacts["state"], suspicious: string | null = null): Question {
  return { ...ask("sdk", "pay", "bot"), known: { state, suspicious, claims: {} } };
}

describe("what is declared of a tool that nobody has accepted", () => {
  it("loosens no BLOCK that names no rule", () => {
    const blocking = setOf({ "bot.yaml": "agent: bot\non_change: block" });
    for (const state of ["new", "added", "changed"] as const)
      expect(decideDeclared(blocking, review, of(state)), state).toMatchObject({
        decision: "BLOCK",
        rule: null,
        stated: true,
      });
    // Once it is accepted, the file says nothing of it.
    expect(decideDeclared(blocking, review, of("accepted"))).toMatchObject({
      decision: "REVIEW",
      rule: "declared review sdk__pay",
    });
  });

  it("allows nothing, trusted or not", () => {
    const none = setOf({});
    for (const known of [of("new"), of("added"), of("changed"), of("accepted", "It looks like sdk__pay")])
      expect(decideDeclared(none, allow, known)).toMatchObject({ decision: "REVIEW", rule: null });
    const other = { ...ask("sdk", "p\u0430y", "bot") };
    expect(decideDeclared(none, allow, other)).toMatchObject({ decision: "REVIEW", rule: null });
    for (const known of [of("accepted"), ask("sdk", "pay", "bot")])
      expect(decideDeclared(none, allow, known).decision).toBe("ALLOW");
  });
});
