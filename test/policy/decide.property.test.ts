import * as fc from "fast-check";
import { expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import type { List, PolicyDecision, PolicyFile, Question, Rule } from "../../src/policy/policy.js";
import { shuffled } from "./shuffled.js";

/** The longest way round, by trying every length of every star: shares nothing with the code under test. */
function globs(pattern: string, text: string): boolean {
  if (pattern === "") return text === "";
  if (pattern.startsWith("*")) {
    return Array.from({ length: text.length + 1 }, (_, from) => text.slice(from)).some((rest) =>
      globs(pattern.slice(1), rest),
    );
  }
  return text !== "" && pattern[0] === text[0] && globs(pattern.slice(1), text.slice(1));
}

interface Expected {
  readonly decision: PolicyDecision["decision"];
  readonly byRule: boolean;
  readonly expires: number | undefined;
}

/** The semantics of policies, as they are written down and as slow as they come. */
function reference(files: readonly PolicyFile[], question: Question): Expected {
  const applying = files.filter((file) => globs(file.agent, question.agent));
  const matching = applying
    .flatMap((file) => file.rules)
    .filter((rule) => globs(rule.pattern, rule.pattern.includes("__") ? question.action : question.tool));
  const ordinary =
    question.tool.length >= 1 &&
    question.tool.length <= 128 &&
    question.tool.split("").every((letter) => "abcdefghijklmnopqrstuvwxyz_".includes(letter));
  const of = (list: List): Rule[] => matching.filter((rule) => rule.list === list);
  if (of("block").length > 0) return { decision: "BLOCK", byRule: true, expires: undefined };
  if (of("review").length > 0) {
    const stated = of("review").flatMap((rule) =>
      rule.approval?.expires === undefined ? [] : [rule.approval?.expires],
    );
    const expires = stated.length === 0 ? undefined : Math.min(...stated);
    return { decision: "REVIEW", byRule: true, expires };
  }
  if (of("allow").some((rule) => ordinary || !rule.pattern.includes("*"))) {
    return { decision: "ALLOW", byRule: true, expires: undefined };
  }
  const defaults = applying.map((file) => file.default);
  if (defaults.includes("block")) return { decision: "BLOCK", byRule: false, expires: undefined };
  const allows = defaults.includes("allow") && !defaults.includes("review") && ordinary;
  return { decision: allows ? "ALLOW" : "REVIEW", byRule: false, expires: undefined };
}

const server = fc.constantFrom("a", "b", "a-b");
const tool = fc.oneof(
  fc.constantFrom(
    "x",
    "y",
    "x_y",
    "xx",
    "a__b",
    "constructor",
    "__proto__",
    "x\n",
    "x\ny",
    "\u0445",
    "x\u200d",
    "",
  ),
  fc.string({ unit: fc.constantFrom("x", "y", "_"), maxLength: 5 }),
);
const agent = fc.constantFrom("a", "b", "ab", "constructor");
const agentPattern = fc.constantFrom("*", "a", "b", "a*", "*b", "constructor");
const pattern = fc.oneof(
  fc.tuple(server, tool).map(([key, name]) => `${key}__${name}`),
  fc
    .tuple(fc.constantFrom("a", "*", "*a"), fc.constantFrom("*", "x*", "*y", "x*y", "*x*", "*_*"))
    .map((p) => p.join("__")),
  fc.constantFrom("*", "x", "x*", "*y", "constructor", "a*x", "**", "\u0445"),
  fc.string({ unit: fc.constantFrom("a", "x", "_", "*"), minLength: 1, maxLength: 6 }),
);
const list = fc.constantFrom<List>("allow", "block", "review");
const rule = fc.record({
  list,
  pattern,
  expires: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
});
const file = fc.record({
  agent: agentPattern,
  default: fc.option(list, { nil: null }),
  rules: fc.array(rule, { maxLength: 6 }),
});
const files = fc.array(file, { maxLength: 4 }).map((drawn) =>
  drawn.map(
    (one, number): PolicyFile => ({
      file: `${number}.yaml`,
      agent: one.agent,
      owner: null,
      default: one.default,
      rules: one.rules.map((each, index) => ({
        list: each.list,
        pattern: each.pattern,
        reason: null,
        file: `${number}.yaml`,
        line: index + 1,
        ...(each.expires === undefined || each.list !== "review"
          ? {}
          : { approval: { expires: each.expires } }),
      })),
      limits: [],
      hosts: [],
      data: [],
      onChange: null,
    }),
  ),
);
const question = fc
  .record({ agent, server, tool })
  .map((drawn): Question => ({ ...drawn, action: `${drawn.server}__${drawn.tool}` }));

it("decides as the reference does, whatever the order of files and rules (P9)", () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(files, question, fc.nat(), (set, asked, seed) => {
      const expected = reference(set, asked);
      const decided = decide({ revision: "", files: set }, asked);
      expect({
        decision: decided.decision,
        byRule: decided.rule !== null,
        expires: decided.expires,
      }).toEqual(expected);
      expect(decide({ revision: "", files: shuffled(set, seed) }, asked)).toEqual(decided);
      if (decided.rule !== null) {
        const word = { ALLOW: "allow", BLOCK: "block", REVIEW: "review" }[decided.decision];
        expect(decided.rule.split(" ")[1]).toBe(word);
      }
      const kind = `${decided.decision} ${decided.rule === null ? "default" : "rule"}`;
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
    }),
    { numRuns: 10_000 },
  );
  // Every way to decide was met often enough for the comparison to mean something.
  const kinds = ["ALLOW", "BLOCK", "REVIEW"].flatMap((decision) => [
    `${decision} rule`,
    `${decision} default`,
  ]);
  for (const kind of kinds) expect(seen.get(kind) ?? 0, kind).toBeGreaterThan(100);
}, 60_000);
