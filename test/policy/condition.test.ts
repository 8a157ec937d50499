import { describe, expect, it } from "vitest";
import { conditionArguments } from "../../src/policy/arguments.js";
import { compileCondition } from "../../src/policy/condition.js";
import { countsNeeded } from "../../src/policy/counts.js";
import { decide } from "../../src/policy/decide.js";
import { policySet } from "../../src/policy/file/load.js";
import { countKey, type PolicyDecision, type Question } from "../../src/policy/policy.js";
import { cpuOf, growth } from "./growth.js";
import { ask, setOf } from "./sets.js";

/** What a file with one conditional rule, and a broad ALLOW beside it, says of these arguments. */
function under(when: string, args: unknown, list = "block", more: Partial<Question> = {}): PolicyDecision {
  const rule = `{ action: s__x, when: ${JSON.stringify(when)} }`;
  const other = list === "allow" ? "default: review" : 'allow: ["s__*"]';
  const set = setOf({ "p.yaml": `agent: claude\n${list}: [${rule}]\n${other}` });
  return decide(set, { ...ask("s", "x"), args, ...more });
}

/** As a backend asks: with the text of the arguments. */
function ofText(when: string, text: string, list = "allow"): PolicyDecision["decision"] {
  return under(when, conditionArguments(text, JSON.parse(text)), list).decision;
}

describe("a condition", () => {
  it("that is false means the rule is not there, in every list", () => {
    for (const [list, held, otherwise] of [
      ["block", "BLOCK", "ALLOW"],
      ["review", "REVIEW", "ALLOW"],
      ["allow", "ALLOW", "REVIEW"],
    ] as const) {
      expect(under('args.to == "a"', { to: "a" }, list).decision).toBe(held);
      expect(under('args.to == "a"', { to: "b" }, list).decision).toBe(otherwise);
    }
  });

  it("sees who asks what of which server, and what they claim", () => {
    const known = { state: "accepted", suspicious: null, claims: { readOnlyHint: true } } as const;
    const more = { known, client: { name: "cursor", version: "1.2" }, now: Date.UTC(2026, 0, 5, 12) };
    for (const when of [
      'agent == "claude" && server == "s" && tool.name == "x"',
      "tool.claims.readOnlyHint",
      'client.name == "cursor" && client.version.startsWith("1.")',
      'now < timestamp("2026-01-06T00:00:00Z") && now.getDayOfWeek() == 1',
      'duration("1h") < duration("2h")',
    ])
      expect(under(when, {}, "block", more).decision, when).toBe("BLOCK");
    // What is not known of a call is no empty text: it is an error.
    for (const when of ['client.name != "evil"', "now.getHours() < 25", "tool.claims.readOnlyHint"])
      expect(under(when, {}, "allow"), when).toMatchObject({ decision: "BLOCK", error: true });
  });

  it("counts calls of its action, and asks for no count that it does not use", () => {
    const set = setOf({
      "p.yaml": "agent: claude\nallow: [{ action: 's__*', when: 'calls.hour < 3 && calls.day < 9' }, t__x]",
    });
    const needed = countsNeeded(set, ask("s", "x"));
    expect(needed).toEqual([
      { pattern: "s__x", window: 3_600_000 },
      { pattern: "s__x", window: 86_400_000 },
    ]);
    expect(countsNeeded(set, ask("t", "x"))).toEqual([]);
    const at = (hour: number) =>
      decide(set, { ...ask("s", "x"), counts: new Map(needed.map((key) => [countKey(key), hour])) }).decision;
    expect(at(2)).toBe("ALLOW");
    expect(at(3)).toBe("REVIEW");
    // A count that was not read is an error, not zero.
    expect(decide(set, ask("s", "x"))).toMatchObject({ decision: "BLOCK", error: true });
  });

  it.each([
    ["args.missing == 1", {}],
    ['args.path.startsWith("/srv")', { path: null }],
    ['args.path.startsWith("/srv")', { path: ["/srv"] }],
    ["args.amount <= 100", { amount: "9" }],
    ["args.amount <= 100", { amount: null }],
    ["args.amount <= 100", {}],
    ["args.flag", { flag: "true" }],
    ["args.a.b.c == 1", { a: { b: 1 } }],
    ["args.list[3] == 1", { list: [1] }],
    ["args.s.matches(args.p)", { s: "x", p: "(" }],
    ["args.s.matches(args.p)", { s: "x", p: "(?=x)" }],
    ["args.list.all(x, x > 0)", { list: 5 }],
    ["int(args.s) > 5", { s: "0x10" }],
    ["args.n == 1", [1]],
    ["args.n == 1", null],
  ])("that cannot be evaluated blocks in every list, and says so (P10): %s of %j", (when, args) => {
    for (const list of ["block", "review", "allow"]) {
      const said = under(when, args, list);
      expect(said).toMatchObject({ decision: "BLOCK", error: true, rule: `p.yaml:2 ${list} s__x` });
      expect(said.reason).toMatch(/^policy_error: the condition of the rule p\.yaml:2 /);
    }
  });

  it.each([
    ['args.url.startsWith("x")', {}, "args.url is missing; ask for it first: `has(args.url) && …`"],
    ["args.a.b.c == 1", { a: { n: 1 } }, "args.a.b is missing; ask for it first: `has(args.a.b) && …`"],
    ['args["odd name"] == 1', {}, 'args["odd name"] is missing; ask for it first: `"odd name" in args && …`'],
    [
      "args.list.exists(x, x.url == 'a')",
      { list: [{}] },
      "x.url is missing; ask for it first: `has(x.url) && …`",
    ],
    ["args.list[3] == 1", { list: [1] }, "args.list[3] is missing"],
    ["args[args.key] == 1", { key: "hunter2" }, "args[args.key] is missing"],
    ['args["p" + args.key] == 1', { key: "hunter2" }, "something it asks for is missing"],
    ["args[args.key].deep == 1", { key: "hunter2", hunter2: {} }, "args[args.key].deep is missing"],
  ])("names what is missing as the expression does, and no value: %s", (when, args, why) => {
    const { reason } = under(when, args);
    expect(reason).toContain(`could not be evaluated: ${why}`);
    expect(reason).not.toContain("hunter2");
  });

  it("blocks by an error whatever other rules say, and only the calls it speaks of (P10)", () => {
    const set = setOf({
      "a.yaml": "agent: claude\nallow: ['*']\nblock: [s__z]",
      "b.yaml": "agent: claude\nblock: [{ action: s__x, when: 'args.n > 5' }]",
    });
    expect(decide(set, { ...ask("s", "x"), args: { n: "a" } })).toMatchObject({ error: true });
    expect(decide(set, { ...ask("s", "x"), args: { n: 5 } }).decision).toBe("ALLOW");
    expect(decide(set, { ...ask("s", "y"), args: { n: "a" } }).decision).toBe("ALLOW");
  });

  it("that was never checked by the loader blocks too (P10)", () => {
    for (const when of ["args.x ===", "nobody == 1", "1 + 1"]) {
      const [file] = setOf({ "p.yaml": "agent: claude\nallow: [s__x]" }).files;
      if (file === undefined) throw new Error("unreachable");
      const rules = file.rules.map((rule) => ({ ...rule, when }));
      expect(decide(policySet([{ ...file, rules }]), ask("s", "x"))).toMatchObject({
        decision: "BLOCK",
        error: true,
      });
    }
  });

  it("tells the kind of an error and never a value of the arguments (I9)", () => {
    for (const [when, args] of [
      ["args[args.key] == 1", { key: "canary-7f3a" }],
      ["args.s > 5", { s: "canary-7f3a" }],
      ["args.s.matches(args.s)", { s: "(canary-7f3a" }],
      ['duration("1s") == dyn(args.s)', { s: "canary-7f3a" }],
      ["bool(args.s)", { s: "canary-7f3a" }],
      ["timestamp(args.s) == now", { s: "canary-7f3a-canary-7f3a-canary" }],
    ] as const)
      expect(JSON.stringify(under(when, args)), when).not.toContain("canary");
  });

  it("searches in time that grows with the text alone (P13)", () => {
    const text = `${"a".repeat(50_000)}b`;
    const rules = Array.from({ length: 1_000 }, (_, index) => {
      const when = JSON.stringify(`args.s.matches("^(a+)+$|x{${index % 50}}y")`);
      return `  - { action: "t${index}__*", when: ${when} }`;
    });
    const set = setOf({ "p.yaml": `agent: claude\nblock:\n${rules.join("\n")}` });
    const started = performance.now();
    expect(decide(set, { ...ask("t7", "x"), args: { s: text } }).decision).toBe("REVIEW");
    expect(under("args.s.matches(args.p)", { s: text, p: "(a|aa)+$" }).decision).toBe("ALLOW");
    expect(performance.now() - started).toBeLessThan(3_000);
    expect(under('args.s.matches("a")', { s: "b".repeat(1_000_001) })).toMatchObject({ error: true });
    expect(under('args.s.matches("a")', { s: "b".repeat(1_000_000) }).decision).toBe("ALLOW");
  });

  it("is bounded in what it does with large arguments (R12)", () => {
    const many = Array.from({ length: 20_000 }, (_, index) => index);
    const started = performance.now();
    const nested = "args.a.all(x, args.b.exists(y, y == x))";
    expect(under(nested, { a: many, b: many })).toMatchObject({ error: true });
    expect(under("args.a.all(x, x in args.b)", { a: many, b: many })).toMatchObject({ error: true });
    expect(under("args.a.all(x, x >= 0)", { a: many, b: many }).decision).toBe("BLOCK");
    expect(under(nested, { a: [1, 2], b: [2, 1] }).decision).toBe("BLOCK");
    expect(performance.now() - started).toBeLessThan(2_000);
    // A text is as many members as it has characters, where lists are made of it.
    for (const [when, args] of [
      [
        'args.a.split("/").exists(p, args.b.split(",").exists(x, x == p))',
        { a: "/a".repeat(30_000), b: ",b".repeat(30_000) },
      ],
      [
        'args.a.all(x, dyn(bytes(args.b)).all(i, i != "-1"))',
        { a: many.slice(0, 1_000), b: "b".repeat(60_000) },
      ],
      ['args.m.all(k, k.split("").all(x, args.m.all(l, l != x)))', { m: { ["k".repeat(60_000)]: 1 } }],
      ['args.a.all(x, !args.b.matches("(a+)+$"))', { a: many.slice(0, 1_000), b: "b".repeat(60_000) }],
      ["args.a.all(x, args.b.size() > 0)", { a: many.slice(0, 1_000), b: "b".repeat(60_000) }],
      ["args.a.all(x, size(args.b) > 0)", { a: many.slice(0, 1_000), b: "b".repeat(60_000) }],
      ['args.a.split("").join(args.a).size() > 0', { a: "a".repeat(20_000) }],
    ] as const)
      expect(under(when, args), when).toMatchObject({ error: true });
    for (const [when, args] of [
      [
        'args.a.split("/").exists(p, args.b.split(",").exists(x, x == p))',
        { a: "/a".repeat(400), b: ",b".repeat(400) },
      ],
      ['args.a.split(".").all(x, x != "..")', { a: "a.".repeat(30_000) }],
      ['args.a.all(x, x.matches("^b*$"))', { a: ["b".repeat(60_000), "b".repeat(60_000)] }],
      [
        'args.a.all(x, x.matches("^b*$") && x in args.a)',
        { a: ["b".repeat(6_000)], body: "b".repeat(6_000) },
      ],
      ['args.a.split("").join(", ").size() > 0', { a: "a".repeat(20_000) }],
    ] as const)
      expect(under(when, args), when).not.toHaveProperty("error");
    for (const when of [
      "args.a.all(x, args.a.all(y, args.a.all(z, args.a.all(w, true))))",
      `${"(".repeat(60)}true${")".repeat(60)}`,
      `true${" && true".repeat(1_000)}`,
      "cel.bind(x, args.a + args.a, x == args.a)",
      'bytes(args.s).json() == {"a": 1}',
      'duration(args.s) > duration("1s")',
      `args.s == "${"x".repeat(5_000)}"`,
    ])
      expect(compileCondition(when), when.slice(0, 60)).toHaveProperty("message");
  });

  it("looks at large arguments once, however many conditions there are", () => {
    const rules = Array.from({ length: 40 }, (_, i) => `  - { action: s__x, when: "args.q == ${i}" }`).join(
      "\n",
    );
    const one = setOf({
      "p.yaml": "agent: claude\nallow: ['*']\nblock: [{ action: s__x, when: 'args.q == 0' }]",
    });
    const many = setOf({ "p.yaml": `agent: claude\nallow: ['*']\nblock:\n${rules}` });
    const large = () => ({ q: 99, items: Array.from({ length: 100_000 }, (_, i) => ({ id: i })) });
    const time = (set: typeof one) => {
      const args = large();
      return cpuOf(() => expect(decide(set, { ...ask("s", "x"), args }).decision).toBe("ALLOW"));
    };
    time(one);
    expect(time(many) / time(one)).toBeLessThan(10);
  });

  it("looks no further once arguments are too large for it", () => {
    const loop = "args.a.all(x, args.a.exists(y, y == x))";
    const a = Array.from({ length: 1_000_000 }, (_, i) => i);
    let looked = 0;
    for (let i = 0; i < a.length; i += 1_000) Object.defineProperty(a, i, { get: () => looked++ });
    const time = cpuOf(() => expect(under(loop, { a })).toMatchObject({ error: true }));
    expect(looked).toBeLessThan(4);
    // A look at all of them took more than 1500 ms.
    expect(time).toBeLessThan(750);
  });
});

describe("the value a condition sees is the one that is forwarded (P20)", () => {
  it("to the last digit, or it is an error (P21)", () => {
    expect(ofText("args.id == 9007199254740991", '{"id":9007199254740991}')).toBe("ALLOW");
    for (const id of [
      "9007199254740992",
      "9007199254740993",
      "1e400",
      "-1e400",
      "1e23",
      "0.1000000000000000055",
    ])
      for (const when of ["args.id == 9007199254740992", "args.id > 0", "!(args.id == 5)", "args == {}"])
        expect(ofText(when, `{"id":${id}}`), `${when} of ${id}`).toBe("BLOCK");
    for (const when of [
      "9007199254740992 in args.ids",
      "args.ids.exists(x, x == 5)",
      "args.ids[0] == 5",
      "args.ids == [5]",
      "5 in args.ids",
    ])
      expect(ofText(when, '{"ids":[9007199254740993]}'), when).toBe("BLOCK");
    // One that the condition does not touch is nobody's business.
    expect(ofText('args.s == "x"', '{"id":9007199254740993,"s":"x"}')).toBe("ALLOW");
  });

  it("even where nobody passed the text on", () => {
    const args: unknown = JSON.parse('{"id":9007199254740993}');
    expect(under("args.id > 0", args)).toMatchObject({ decision: "BLOCK", error: true });
  });

  it.each([
    ["1.0", "args.n == 1"],
    ["1e2", "args.n == 100"],
    ["-0", "args.n == 0"],
    ["100.000000000000000000", "args.n <= 100"],
    ["0.1", "args.n == 0.1"],
    ["0.30000000000000004", "args.n > 0.3"],
    ["123456789012345.5", "args.n > 123456789012345"],
  ])("however a number is written: %s", (number, when) => {
    expect(ofText(when, `{"n":${number}}`)).toBe("ALLOW");
  });

  it("in time that grows with its length alone", () => {
    const number = (size: number) =>
      `{"n":[0.1${"0".repeat(size)}1,1${"0".repeat(size)}1e1,0.${"0".repeat(size)}]}`;
    expect(growth((size) => void ofText("args.m == 5", number(size)), 40_000)).toBeLessThan(8);
    // Of many short ones too: zeros in the middle cost no more than other digits.
    const many = (digit: string) =>
      `{"n":[${Array(3_000)
        .fill(`0.1${digit.repeat(390)}1`)
        .join()}]}`;
    const [zeros = 0, ones = 1] = ["0", "1"].map((digit) =>
      Math.min(...[1, 2, 3].map(() => cpuOf(() => ofText("args.m == 5", many(digit))))),
    );
    expect(zeros / ones).toBeLessThan(4);
    // Exact all the same, but longer than anybody writes one.
    expect(ofText("args.n == 1", `{"n":1.${"0".repeat(398)}}`)).toBe("ALLOW");
    expect(ofText("args.n == 1", `{"n":1.${"0".repeat(399)}}`)).toBe("BLOCK");
  });

  it("digits in a text are a text, and look like what they are", () => {
    expect(ofText('args.s == "9007199254740993"', '{"s":"9007199254740993"}')).toBe("ALLOW");
    expect(ofText('args.s == "\\"1e400"', '{"s":"\\"1e400"}')).toBe("ALLOW");
    expect(ofText("args.n == 5", '{"n":"5"}')).toBe("REVIEW");
    expect(ofText("args.n == 5", '{"n":[5]}')).toBe("REVIEW");
  });

  it.each(["/srv/docs/../x", "/srv/docs/%2e%2e/x", "/srv/docs\\..\\x", "/srv/docs/cafe\u0301"])(
    "as it is spelled, and as nothing else: %s",
    (path) => {
      const exact = `args.path == ${JSON.stringify(path)}`;
      expect(under(exact, { path }, "allow").decision).toBe("ALLOW");
      for (const other of ["/srv/x", "/srv/docs/x", "/srv/docs/caf\u00e9"])
        expect(under(exact, { path: other }, "allow").decision).toBe("REVIEW");
    },
  );

  it("with members that are named like what every object has (P7, P8)", () => {
    for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
      const text = `{"${name}":"x","o":{"${name}":{"y":1}}}`;
      expect(ofText(`args["${name}"] == "x"`, text), name).toBe("ALLOW");
      expect(ofText(`args.o["${name}"].y == 1`, text), name).toBe("ALLOW");
      expect(ofText(`has(args.${name})`, '{"a":1}'), name).toBe("REVIEW");
      expect(ofText(`args.${name} == 1`, '{"a":1}'), name).toBe("BLOCK");
    }
  });
});
