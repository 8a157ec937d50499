import { describe, expect, it } from "vitest";
import { AegisError } from "../../src/errors.js";
import { parsePolicy } from "../../src/policy/file/load.js";

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
          approval: { expires: 1_800_000 },
        },
      ],
      limits: [],
      hosts: [],
      data: [],
      onChange: null,
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
    expect(read).toMatchObject({ agent: "a", owner: null, default: null, rules: [] });
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

describe("the whole format", () => {
  const text = [
    "agent: a",
    "on_change: block",
    "review:",
    "  - action: mail__send",
    "    when: 'args.to.size() > 5'",
    "    shadow: true",
    "    approval:",
    "      approvers: [mail-team, leads, leads]",
    "      quorum: 2",
    "      reason: required",
    "      expires: 30m",
    "      channels: [page]",
    '      grant: { uses: 5, expires: 30m, arguments: { path: "/srv/*" } }',
    "limits:",
    '  - { action: "mail__*", calls: 20, per: 1h, reason: Enough }',
    '  - { action: "*", concurrent: 5, shadow: true }',
    "servers:",
    '  allow: ["*.Example.com.", { host: "B\u00fccher.de", action: "github__*" }]',
    '  block: ["169.254.*", "[::1]"]',
    "data:",
    "  - { detect: secrets, in: [arguments, results], then: redact }",
    '  - { detect: card_numbers, then: block, action: "mail__*" }',
    "  - { detect: custom, name: ticket, pattern: 'TCK-[0-9]+', then: review, in: arguments }",
  ].join("\n");
  const file = "p.yaml";

  it("is read into rules, limits, hosts and rules for data with their lines", () => {
    const read = parsePolicy(text, file, { bareNames: false });
    expect(read).toMatchObject({ onChange: "block" });
    expect(read.rules).toEqual([
      {
        list: "review",
        pattern: "mail__send",
        reason: null,
        file,
        line: 4,
        when: "args.to.size() > 5",
        shadow: true,
        approval: {
          approvers: ["leads", "mail-team"],
          quorum: 2,
          reason: true,
          expires: 1_800_000,
          channels: ["page"],
          grant: { uses: 5, expires: 1_800_000, arguments: { path: "/srv/*" } },
        },
      },
    ]);
    expect(read.limits).toEqual([
      { pattern: "mail__*", of: { calls: 20, per: 3_600_000 }, reason: "Enough", file, line: 15 },
      { pattern: "*", of: { concurrent: 5 }, reason: null, file, line: 16, shadow: true },
    ]);
    expect(read.hosts).toEqual([
      { list: "block", host: "169.254.*", pattern: "*", reason: null, file, line: 19 },
      { list: "block", host: "::1", pattern: "*", reason: null, file, line: 19 },
      { list: "allow", host: "*.example.com", pattern: "*", reason: null, file, line: 18 },
      { list: "allow", host: "xn--bcher-kva.de", pattern: "github__*", reason: null, file, line: 18 },
    ]);
    expect(read.data.map(({ file: _file, reason: _reason, ...rest }) => rest)).toEqual([
      {
        rule: "p.yaml:21 data secrets",
        detect: "secrets",
        name: "secrets",
        pattern: null,
        effect: "redact",
        action: "*",
        in: ["arguments", "results"],
        line: 21,
      },
      {
        rule: "p.yaml:22 data card_numbers",
        detect: "card_numbers",
        name: "card_numbers",
        pattern: null,
        effect: "block",
        action: "mail__*",
        in: ["arguments", "results"],
        line: 22,
      },
      {
        rule: "p.yaml:23 data ticket",
        detect: "custom",
        name: "ticket",
        pattern: "TCK-[0-9]+",
        effect: "review",
        action: "*",
        in: ["arguments"],
        line: 23,
      },
    ]);
  });

  it("may be in shadow as a whole", () => {
    const hidden = parsePolicy(`${text}\nshadow: true`, file, { bareNames: false });
    expect(hidden.shadow).toBe(true);
    for (const entry of [...hidden.rules, ...hidden.limits, ...hidden.hosts, ...hidden.data])
      expect(entry.shadow).toBe(true);
  });
});

const agentExpected = 'expected the name of an agent, or a pattern such as "claude-*"';
const fileKeys =
  "expected agent, owner, default, on_change, shadow, allow, block, review, limits, servers, data";
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
    '4:5: allow[0]: found the unknown key "resaon" (did you mean "reason"?), expected action, when, reason, shadow',
  ],
  [
    "entry without action",
    "agent: a\nallow:\n  - s__x\n  - reason: y",
    '4:5: allow[1].action: found nothing, expected a pattern such as "files__read_*"',
  ],
  [
    "entry a number",
    "agent: a\nallow: [s__x, 5]",
    '2:15: allow[1]: found 5, expected a pattern such as "files__read_*", or a mapping with action and, where wanted, when and reason',
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
    "condition with an unknown name",
    "agent: a\nallow:\n  - action: s__x\n    when: 'agnt == \"a\"'",
    '4:12: allow[0].when: found "agnt == \\"a\\"", expected a condition in CEL: unknown variable: agnt',
  ],
  [
    "condition with types that do not fit, behind the first line of a block",
    "agent: a\nallow:\n  - action: s__x\n    when: |\n      args.x == 1 &&\n        agent > 5",
    '6:9: allow[0].when: found "args.x == 1 &&\\n  agent > 5\\n", expected a condition in CEL: no such overload: string > int',
  ],
  [
    "condition that is no bool",
    "agent: a\nallow:\n  - action: s__x\n    when: agent",
    '4:11: allow[0].when: found "agent", expected a condition in CEL: it is of the type string, not true or false',
  ],
  [
    "condition that ends too early",
    "agent: a\nreview:\n  - { action: s__x, when: 'args.x ==' }",
    '3:36: review[0].when: found "args.x ==", expected a condition in CEL: unexpected token: EOF',
  ],
  [
    "condition with an expression that backtracks",
    "agent: a\nblock:\n  - { action: s__x, when: 'args.x.matches(\"(?=a)\")' }",
    '3:43: block[0].when: found "args.x.matches(\\"(?=a)\\")", expected a condition in CEL: the regular expression is not one of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`',
  ],
  [
    "approval under allow",
    "agent: a\nallow:\n  - { action: s__x, approval: { expires: 1h } }",
    '3:21: allow[0]: found "approval" outside review, expected it under review only',
  ],
  [
    "quorum of nobody",
    "agent: a\nreview:\n  - action: s__x\n    approval: { quorum: 0 }",
    "4:25: review[0].approval.quorum: found 0, expected a whole number from 1 to 100",
  ],
  [
    "unknown key of an approval",
    "agent: a\nreview:\n  - action: s__x\n    approval: { aprovers: [a] }",
    '4:17: review[0].approval: found the unknown key "aprovers" (did you mean "approvers"?), expected approvers, quorum, reason, expires, channels, grant',
  ],
  [
    "unknown key of a grant",
    "agent: a\nreview:\n  - action: s__x\n    approval: { grant: { use: 1, uses: 1, expires: 1h } }",
    '4:26: review[0].approval.grant: found the unknown key "use" (did you mean "uses"?), expected uses, expires, arguments',
  ],
  [
    "channel unknown",
    "agent: a\nreview:\n  - { action: s__x, approval: { channels: [slack] } }",
    '3:44: review[0].approval.channels[0]: found "slack", expected cli, page or client',
  ],
  [
    "limit of neither kind",
    'agent: a\nlimits:\n  - { action: "*", calls: 5 }',
    "3:5: limits[0]: found a mapping, expected either calls and per, such as {calls: 20, per: 1h}, or concurrent alone",
  ],
  [
    "limit of both kinds",
    'agent: a\nlimits:\n  - { action: "*", calls: 5, per: 1h, concurrent: 2 }',
    "3:5: limits[0]: found a mapping, expected either calls and per, such as {calls: 20, per: 1h}, or concurrent alone",
  ],
  [
    "host with a path",
    "agent: a\nservers:\n  block: [https://evil.com/x]",
    '3:11: servers.block[0]: found "https://evil.com/x", expected the name of a host such as api.github.com or "*.example.com", without scheme, port and path',
  ],
  [
    "detector unknown",
    "agent: a\ndata:\n  - { detect: passwords, then: block }",
    '3:15: data[0].detect: found "passwords", expected secrets, card_numbers, national_ids, custom',
  ],
  [
    "custom detector without a pattern",
    "agent: a\ndata:\n  - { detect: custom, name: t, then: block }",
    "3:5: data[0]: found a mapping, expected name and pattern beside detect: custom",
  ],
  [
    "custom detector that finds everything",
    "agent: a\ndata:\n  - { detect: custom, name: t, pattern: 'x*', then: block }",
    '3:41: data[0].pattern: found "x*", expected a regular expression that does not find the empty text',
  ],
  [
    "place of data unknown",
    "agent: a\ndata:\n  - { detect: secrets, then: block, in: [argument] }",
    '3:42: data[0].in[0]: found "argument", expected arguments or results',
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
