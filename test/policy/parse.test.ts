import { describe, expect, it } from "vitest";
import { AegisError } from "../../src/errors.js";
import { parsePolicy } from "../../src/policy/load.js";

function problems(text: string, bareNames = false): string[] {
  try {
    parsePolicy(text, "policies/p.yaml", { bareNames });
  } catch (thrown) {
    if (!(thrown instanceof AegisError)) throw thrown;
    expect(thrown.code).toBe("policy_invalid");
    expect(thrown.hint).toContain("aegis policy check");
    return thrown.message.split("\n");
  }
  return [];
}

describe("a policy file", () => {
  it("is read into rules with their lines", () => {
    const text = [
      "agent: claude-*",
      "owner: platform-team",
      "default: block",
      "allow:",
      "  - files__read_text_file",
      "  - { action: files__get_*, reason: Only looks }",
      'block: ["*__delete_*"]',
      "review:",
      "  - reason: Writing is public",
      "    action: files__write_file",
      "    approval: { expires: 30m }",
    ].join("\n");
    const file = "p.yaml";
    expect(parsePolicy(text, file, { bareNames: false })).toEqual({
      file,
      agent: "claude-*",
      owner: "platform-team",
      default: "block",
      rules: [
        { list: "allow", pattern: "files__read_text_file", reason: null, file, line: 5 },
        { list: "allow", pattern: "files__get_*", reason: "Only looks", file, line: 6 },
        { list: "block", pattern: "*__delete_*", reason: null, file, line: 7 },
        {
          list: "review",
          pattern: "files__write_file",
          reason: "Writing is public",
          file,
          line: 9,
          expires: 1_800_000,
        },
      ],
    });
  });

  it("takes the words of the Python SDK for the lists", () => {
    const text =
      "agent: a\nallows: [s__a]\nallowed_actions: [s__b]\nblocks: [s__c]\nblocked_actions: [s__d]\nrequires_review: [s__e]\nallow: [s__f]";
    const { rules } = parsePolicy(text, "p.yaml", { bareNames: false });
    const found = rules.map(({ list, pattern }) => `${list} ${pattern}`).toSorted();
    expect(found).toEqual([
      "allow s__a",
      "allow s__b",
      "allow s__f",
      "block s__c",
      "block s__d",
      "review s__e",
    ]);
  });

  it("takes a list with nothing in it as empty, and needs no list", () => {
    const read = parsePolicy("agent: a\nallow:\nblock: []\n", "p.yaml", { bareNames: false });
    expect(read).toEqual({ file: "p.yaml", agent: "a", owner: null, default: null, rules: [] });
  });

  it("takes an alias for what its anchor says, at the alias's own line", () => {
    const { rules } = parsePolicy("agent: a\nallow:\n - &r s__a\nblock:\n - *r", "p.yaml", {
      bareNames: false,
    });
    expect(rules.map(({ list, line }) => [list, line])).toEqual([
      ["allow", 3],
      ["block", 5],
    ]);
  });

  it("may say a tool's own name where one server is governed, and the star alone anywhere", () => {
    expect(problems("agent: a\nallow: [read_*]", true)).toEqual([]);
    expect(problems('agent: a\nreview: ["*"]', false)).toEqual([]);
  });
});

const agentExpected = 'expected the name of an agent, or a pattern such as "claude-*"';
const fileKeys = "expected agent, owner, default, allow, block, review";
const wrong: ReadonlyArray<readonly [name: string, text: string, problem: string]> = [
  ["empty", "", "1:1: found nothing, expected a mapping with agent and the lists allow, block and review"],
  [
    "not a mapping",
    "- a",
    "1:1: found a list, expected a mapping with agent and the lists allow, block and review",
  ],
  ["no agent", "default: block", `1:1: agent: found nothing, ${agentExpected}`],
  ["agent a number", "owner: x\nagent: 007", `2:8: agent: found 7, ${agentExpected}`],
  ["agent empty", 'agent: ""', `1:8: agent: found "", ${agentExpected}, of 1 to 1000 characters`],
  [
    "default unknown",
    "agent: a\ndefault: alow",
    '2:10: default: found "alow", expected review, block or allow',
  ],
  [
    "default boolean",
    "agent: a\ndefault: true",
    "2:10: default: found true, expected review, block or allow",
  ],
  ["list is text", "agent: a\nblock: s__x", '2:8: block: found "s__x", expected a list of patterns'],
  [
    "list is a mapping",
    "agent: a\nallow: { s__x: 1 }",
    "2:8: allow: found a mapping, expected a list of patterns",
  ],
  [
    "unknown key",
    "agent: a\n\nblok: []",
    `3:1: found the unknown key "blok" (did you mean "block"?), ${fileKeys}`,
  ],
  ["unknown key like nothing", "agent: a\nrules: []", `2:1: found the unknown key "rules", ${fileKeys}`],
  [
    "__proto__ key",
    "agent: a\n__proto__: { default: allow }",
    `2:1: found the unknown key "__proto__", ${fileKeys}`,
  ],
  [
    "constructor key",
    "agent: a\nconstructor: { prototype: { allow: true } }",
    `2:1: found the unknown key "constructor", ${fileKeys}`,
  ],
  [
    "unknown key of an entry",
    "agent: a\nallow:\n  - action: s__x\n    resaon: y",
    '4:5: allow[0]: found the unknown key "resaon" (did you mean "reason"?), expected action, reason',
  ],
  [
    "entry without action",
    "agent: a\nallow:\n  - s__x\n  - reason: y",
    '4:5: allow[1].action: found nothing, expected a pattern such as "files__read_*"',
  ],
  [
    "entry a number",
    "agent: a\nallow: [s__x, 5]",
    '2:15: allow[1]: found 5, expected a pattern such as "files__read_*", or a mapping with action and, where wanted, reason',
  ],
  [
    "empty pattern",
    'agent: a\nallow: [""]',
    '2:9: allow[0]: found "", expected a pattern such as "files__read_*"',
  ],
  [
    "empty reason",
    'agent: a\nblock: [{ action: s__x, reason: "" }]',
    '2:33: block[0].reason: found "", expected a sentence, of 1 to 1000 characters',
  ],
  [
    "pattern without its server",
    "agent: a\nallow:\n  - read_file",
    '3:5: allow[0]: found "read_file", expected a pattern that names the server too: "files__read_file" for one server, "*__read_file" for all',
  ],
  [
    "mapping whose pattern is without its server",
    "agent: a\nblock:\n  - { reason: r, action: rm }",
    '3:26: block[0].action: found "rm", expected a pattern that names the server too: "files__rm" for one server, "*__rm" for all',
  ],
  [
    "when",
    "agent: a\nallow:\n  - action: s__x\n    when: 'true'",
    '4:5: allow[0]: found "when", which this version of aegis does not support yet, expected a policy without it',
  ],
  [
    "approval under allow",
    "agent: a\nallow:\n  - { action: s__x, approval: { expires: 1h } }",
    '3:21: allow[0]: found "approval" outside review, expected it under review only',
  ],
  [
    "approvers",
    "agent: a\nreview:\n  - action: s__x\n    approval: { approvers: [docs], expires: 1h }",
    '4:17: review[0].approval: found "approvers", which this version of aegis does not support yet, expected a policy without it',
  ],
  [
    "expiry without unit",
    "agent: a\nreview:\n  - { action: s__x, approval: { expires: 30 } }",
    "3:42: review[0].approval.expires: found 30, expected a duration such as 30m",
  ],
  [
    "expiry too long",
    "agent: a\nreview:\n  - { action: s__x, approval: { expires: 9999d } }",
    '3:42: review[0].approval.expires: found "9999d", expected a duration of more than nothing and at most 365d, such as 250ms, 45s, 10m, 1h or 7d',
  ],
  [
    "expiry of nothing",
    "agent: a\nreview:\n  - { action: s__x, approval: { expires: 0s } }",
    '3:42: review[0].approval.expires: found "0s", expected a duration of more than nothing and at most 365d, such as 250ms, 45s, 10m, 1h or 7d',
  ],
  [
    "repeated key",
    "agent: a\nblock: [s__x]\nblock: []",
    '3:1: found the key "block" again, expected it once',
  ],
  [
    "repeated key of an entry",
    "agent: a\nblock: [{ action: s__x, action: s__y }]",
    '2:25: found the key "action" again, expected it once',
  ],
  ["key not text", "agent: a\n? [x]\n: y", "2:3: found a key that is not plain text, expected a word"],
  [
    "foreign tag",
    'agent: !!js/function "x"',
    "1:8: found the YAML tag !!js/function, expected plain text, lists and mappings",
  ],
  [
    "YAML's own tag",
    "agent: a\nallow: !!set { s__x }",
    "2:14: found the YAML tag !!set, expected plain text, lists and mappings",
  ],
  ["alias without anchor", "agent: *a", "1:8: found *a, expected &a before it"],
  ["alias inside its anchor", "agent: a\nallow: &l [*l]", "2:12: found *l, expected &l before it"],
  ["two documents", "agent: a\n---\nagent: b", "2:1: found a second YAML document, expected one a file"],
  ["merge key", "agent: a\n<<: { default: allow }", `2:1: found the unknown key "<<", ${fileKeys}`],
];

describe("a wrong policy file names line, column, what was found and what was expected:", () => {
  it.each(wrong)("%s", (_name, text, problem) => {
    expect(problems(text)).toEqual([`policies/p.yaml:${problem}`]);
  });

  it.each(["limits", "servers", "data", "shadow"])("%s, which a later version understands", (key) => {
    expect(problems(`agent: a\n${key}: {}`)).toEqual([
      `policies/p.yaml:2:1: found "${key}", which this version of aegis does not support yet, expected a policy without it`,
    ]);
  });

  it("syntax", () => {
    expect(problems("agent: a\nallow: [s__x\nblock: []")[0]).toMatch(
      /^policies\/p\.yaml:\d+:\d+: found invalid YAML: /,
    );
    expect(problems("agent: a\n\tallow: []")[0]).toMatch(/^policies\/p\.yaml:2:1: found invalid YAML: /);
  });

  it("every problem of the file, in its order", () => {
    const found = problems("agent: 1\nallow:\n  - x\n  - 2\nwhat: 3\ndefault: no");
    expect(found.map((line) => line.split(": ")[0])).toEqual([
      "policies/p.yaml:1:8",
      "policies/p.yaml:3:5",
      "policies/p.yaml:4:5",
      "policies/p.yaml:5:1",
      "policies/p.yaml:6:10",
    ]);
  });

  it("without printing what could move the cursor or turn the text (U3)", () => {
    const [found] = problems('agent: a\ndefault: "\\x1b[2J\\u202e\\x9b"');
    expect(found).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(problems(`agent: a\n"k\\e[2J": 1`)[0]).not.toMatch(/\p{Cc}/u);
  });

  it("and no more than twenty problems, each of a bounded length", () => {
    const found = problems(`agent: ${"x".repeat(5_000)}\nallow:\n${"  - x\n".repeat(100)}`);
    expect(found).toHaveLength(21);
    expect(found.at(-1)).toBe("and 81 more");
    expect(Math.max(...found.map((line) => line.length))).toBeLessThan(600);
  });
});

describe("hostile YAML", () => {
  it("pollutes nothing (P8)", () => {
    problems("agent: a\n__proto__: { polluted: true }\nconstructor: { prototype: { polluted: true } }");
    problems("agent: a\nallow: [{ action: s__x, __proto__: { polluted: true } }]");
    expect(Reflect.get({}, "polluted")).toBeUndefined();
  });

  it("can not multiply itself through anchors", () => {
    const layers = Array.from(
      { length: 40 },
      (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join(",")}]`,
    );
    const started = performance.now();
    const found = problems(`agent: a\na0: &a0 [s__x]\n${layers.join("\n")}\nallow: *a40`);
    expect(found[0]).toContain('2:1: found the unknown key "a0"');
    expect(performance.now() - started).toBeLessThan(2_000);
  });

  it("may be nested as deep as it likes", () => {
    expect(problems(`agent: ${"[".repeat(20_000)}`)).toEqual([expect.stringContaining("nested too deeply")]);
    expect(problems(`agent: ${"{a: ".repeat(20_000)}`)).toEqual([
      expect.stringContaining("nested too deeply"),
    ]);
  });

  it("with many keys takes time in proportion", () => {
    const keys = Array.from({ length: 40_000 }, (_, index) => `k${index}:`).join("\n");
    const started = performance.now();
    expect(problems(`agent: a\n${keys}`)).toHaveLength(21);
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
