import * as fc from "fast-check";
import { expect, it } from "vitest";
import { countsNeeded } from "../../src/policy/counts.js";
import { decide } from "../../src/policy/decide.js";
import {
  type CountKey,
  countKey,
  type HostRule,
  type Limit,
  type List,
  type PlacedDataRule,
  type PolicyDecision,
  type PolicyFile,
  type Question,
  type Rule,
  type ToolFacts,
} from "../../src/policy/policy.js";
import type { Requirement } from "../../src/requirement.js";
import { shuffled } from "./shuffled.js";

type Args = Readonly<Record<string, unknown>>;
type Answer = boolean | "error";

/** What each condition means, said again in another language. */
const conditions: Readonly<Record<string, (question: Question, args: Args) => Answer>> = {
  "args.n > 1.0": (_question, { n }) => (typeof n === "number" ? n > 1 : "error"),
  'args.s == "x"': (_question, { s }) => (s === undefined ? "error" : s === "x"),
  "has(args.n)": (_question, { n }) => n !== undefined,
  "has(args.n) && args.n > 1.0": (_question, { n }) =>
    n === undefined ? false : typeof n === "number" ? n > 1 : "error",
  "tool.claims.danger == true": ({ known }) => {
    const claim = known?.claims.danger;
    return claim === undefined ? "error" : claim === true;
  },
  'args.s.matches("^x+$")': (_question, { s }) => (typeof s === "string" ? /^x+$/.test(s) : "error"),
  'agent == "a"': ({ agent }) => agent === "a",
  "calls.minute < 2": ({ action }) => countOf({ pattern: action, window: 60_000 }) < 2,
  "calls.day > 2": ({ action }) => countOf({ pattern: action, window: 86_400_000 }) > 2,
};

/** Every count there is; a question carries only those that are said to be needed. */
function countOf(key: CountKey): number {
  return Array.from(countKey(key), (letter) => letter.charCodeAt(0)).reduce((sum, code) => sum + code, 0) % 4;
}

/** Where each text leads; null where it should be a URL and is none. */
const urls: Readonly<Record<string, string | null>> = {
  "https://good.example.com/x": "good.example.com",
  " HTTP://EVIL.com.:80\\@good.example.com": "evil.com",
  "evil.com:443/x": "evil.com",
  "http://user@0x7f.1/": "127.0.0.1",
  "http://": null,
  "a b": null,
};

function globs(pattern: string, text: string): boolean {
  if (!pattern.includes("*")) return pattern === text;
  const pieces = pattern.split("*").map((piece) => piece.replaceAll(".", "\\."));
  return new RegExp(`^${pieces.join(".*")}$`, "s").test(text);
}

function speaks(pattern: string, { action, tool }: Question): boolean {
  return globs(pattern, pattern.includes("__") ? action : tool);
}

interface Expected {
  readonly decision: PolicyDecision["decision"];
  readonly rule: string | null;
  readonly passing?: true;
  readonly error?: true;
  readonly expires?: number;
  readonly requirement?: Requirement;
}

const place = (one: { file: string; line: number }, other: { file: string; line: number }) =>
  one.file < other.file ? -1 : one.file > other.file ? 1 : one.line - other.line;
const labelOf = ({ file, line, list, pattern }: Rule) => `${file}:${line} ${list} ${pattern}`;

/** The semantics of the whole format, as they are written down and as slow as they come. */
function reference(files: readonly PolicyFile[], question: Question, shadow: boolean): Expected {
  const args = question.args as Args;
  const counted = <T extends { readonly shadow?: true }>(entries: readonly T[]) =>
    entries.filter((entry) => shadow || entry.shadow !== true);
  const applying = files.filter((file) => globs(file.agent, question.agent));
  const stating = counted(applying);
  const strictest = (stated: ReadonlyArray<List | null>): List =>
    (["block", "review", "allow"] as const).find((list) => stated.includes(list)) ?? "review";
  const matching = counted(applying.flatMap((file) => file.rules))
    .filter((rule) => speaks(rule.pattern, question))
    .map((rule) => ({ rule, holds: conditions[rule.when ?? ""]?.(question, args) ?? true }))
    .toSorted(
      ({ rule: a }, { rule: b }) =>
        ["block", "review", "allow"].indexOf(a.list) - ["block", "review", "allow"].indexOf(b.list) ||
        Number(a.pattern.includes("*")) - Number(b.pattern.includes("*")) ||
        place(a, b),
    );
  const failed = matching.find(({ holds }) => holds === "error");
  if (failed !== undefined) return { decision: "BLOCK", rule: labelOf(failed.rule), error: true };
  const rules = matching.filter(({ holds }) => holds === true).map(({ rule }) => rule);
  const of = (list: List) => rules.filter((rule) => rule.list === list);
  const [block] = of("block");
  if (block !== undefined) return { decision: "BLOCK", rule: labelOf(block) };

  const state = question.known?.state ?? "accepted";
  const stands = ({ pattern }: Rule) =>
    state === "accepted" ||
    (state === "new" &&
      (pattern.startsWith(`${question.server}__`) || (!pattern.includes("__") && pattern !== "*"))) ||
    (state === "added" && !pattern.includes("*"));
  const onChange = strictest(stating.map((file) => file.onChange));
  const ordinary = /^[a-z]+$/.test(question.tool);
  const suspicious = (question.known?.suspicious ?? null) !== null;
  const reviews = of("review");
  let decided: Expected;
  if (reviews.length > 0) {
    const stopped = onChange === "block" && !reviews.some(stands);
    decided = stopped
      ? { decision: "BLOCK", rule: null }
      : { decision: "REVIEW", rule: labelOf(reviews[0] as Rule) };
  } else {
    const able = of("allow").filter(
      ({ pattern }) =>
        (ordinary && !suspicious) || (!pattern.includes("*") && (!suspicious || pattern.includes("__"))),
    );
    const fallback = strictest(stating.map((file) => file.default));
    const allow = able.find(stands) ?? able[0];
    const loosest = fallback === "allow" && (!ordinary || suspicious) ? "review" : fallback;
    decided =
      allow === undefined
        ? { decision: ({ block: "BLOCK", review: "REVIEW", allow: "ALLOW" } as const)[loosest], rule: null }
        : { decision: "ALLOW", rule: labelOf(allow) };
    const accepted = state === "accepted" || (allow !== undefined && stands(allow));
    if (!accepted && decided.decision !== "BLOCK" && onChange !== "allow") {
      if (onChange === "block") decided = { decision: "BLOCK", rule: null };
      else if (decided.decision === "ALLOW") decided = { decision: "REVIEW", rule: null };
    }
  }
  if (decided.decision === "BLOCK") return decided;

  const hosts = counted(applying.flatMap((file) => file.hosts))
    .filter((host) => speaks(host.pattern, question))
    .toSorted((a, b) => place(a, b) || (a.host < b.host ? -1 : 1));
  const leads = typeof args.url === "string" ? [urls[args.url] ?? null] : [];
  for (const host of leads) {
    const stop = hosts.find((one) => one.list === "block" && host !== null && globs(one.host, host));
    if (stop !== undefined)
      return { decision: "BLOCK", rule: `${stop.file}:${stop.line} servers block ${stop.host}` };
    const allowed = hosts.filter((one) => one.list === "allow");
    const [first] = allowed;
    if (first !== undefined && !(host !== null && allowed.some((one) => globs(one.host, host))))
      return { decision: "BLOCK", rule: `${first.file}:${first.line} servers allow ${first.host}` };
  }

  const found = counted(applying.flatMap((file) => file.data))
    .filter((rule) => speaks(rule.action, question) && rule.in.includes("arguments"))
    .filter((rule) => JSON.stringify(args).includes(String(rule.pattern)))
    .toSorted(place);
  const blocking = found.find(({ effect }) => effect === "block");
  if (blocking !== undefined) return { decision: "BLOCK", rule: blocking.rule };

  for (const limit of counted(applying.flatMap((file) => file.limits)).toSorted(place)) {
    if (!speaks(limit.pattern, question)) continue;
    const [window, most] =
      "per" in limit.of ? [limit.of.per, limit.of.calls] : ([null, limit.of.concurrent] as const);
    if (countOf({ pattern: limit.pattern, window }) >= most)
      return {
        decision: "BLOCK",
        rule: `${limit.file}:${limit.line} limits ${limit.pattern}`,
        passing: true,
      };
  }
  const reviewed = found.find(({ effect }) => effect === "review");
  if (decided.decision === "ALLOW")
    return reviewed === undefined ? decided : { decision: "REVIEW", rule: reviewed.rule };
  if (decided.rule === null) return decided;

  const terms = reviews.map(({ approval }) => approval ?? {});
  const expiries = terms.flatMap(({ expires }) => (expires === undefined ? [] : [expires]));
  const grants = terms.flatMap(({ grant }) => (grant === undefined ? [] : [grant]));
  const grant =
    grants.length === terms.length &&
    reviewed === undefined &&
    (onChange === "allow" || reviews.some(stands)) &&
    ordinary &&
    !suspicious &&
    grants.every((one) => one.arguments.p === grants[0]?.arguments.p)
      ? {
          uses: Math.min(...grants.map(({ uses }) => uses)),
          expires: Math.min(...grants.map(({ expires }) => expires)),
          arguments: { p: String(grants[0]?.arguments.p) },
        }
      : null;
  const approvers = [...new Set(terms.flatMap((one) => (one.approvers ? [one.approvers.join("\n")] : [])))];
  const requirement: Requirement = {
    approvers: approvers.toSorted((a, b) => (a < b ? -1 : 1)).map((names) => names.split("\n")),
    quorum: Math.max(...terms.map(({ quorum }) => quorum ?? 1)),
    reason: terms.some(({ reason }) => reason),
    channels: (["cli", "page", "client"] as const).filter((channel) =>
      terms.some(({ channels }) => channels)
        ? terms.every(({ channels }) => channels?.includes(channel) ?? true)
        : channel !== "client",
    ),
    grant,
  };
  const usual = { approvers: [], quorum: 1, reason: false, channels: ["cli", "page"], grant: null };
  return {
    ...decided,
    ...(expiries.length === 0 ? {} : { expires: Math.min(...expiries) }),
    ...(JSON.stringify(requirement) === JSON.stringify(usual) ? {} : { requirement }),
  };
}

const action = fc.constantFrom("a__x", "a__*", "b__*", "*__x", "*", "a__y", "x", "y*", "a__\u0445");
const rarely = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
const shadow = fc.constantFrom(undefined, undefined, undefined, undefined, undefined, true as const);
const list = fc.constantFrom<List>("allow", "allow", "allow", "review", "review", "block");

/** Without the members that are undefined. */
function bare<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

const approval = fc
  .record({
    approvers: rarely(fc.constantFrom(["g"], ["g", "h"], ["h"])),
    quorum: rarely(fc.integer({ min: 1, max: 3 })),
    reason: rarely(fc.constant(true as const)),
    expires: rarely(fc.integer({ min: 1, max: 5 })),
    channels: rarely(fc.constantFrom(["cli"] as const, ["page"] as const, ["cli", "client"] as const)),
    grant: fc.option(
      fc.record({
        uses: fc.integer({ min: 1, max: 3 }),
        expires: fc.integer({ min: 1, max: 3 }),
        arguments: fc.constantFrom({ p: "*" }, { p: "*" }, { p: "a*" }),
      }),
      { nil: undefined },
    ),
  })
  .map(bare);
const rule = fc.record({
  list,
  pattern: action,
  when: rarely(fc.constantFrom(...Object.keys(conditions))),
  shadow,
  approval: fc.option(approval, { nil: undefined }),
});
const limit = fc.record({
  pattern: action,
  of: fc.oneof(
    fc.record({ calls: fc.integer({ min: 1, max: 4 }), per: fc.constantFrom(60_000, 3_600_000) }),
    fc.record({ concurrent: fc.integer({ min: 1, max: 4 }) }),
  ),
  shadow,
});
const host = fc.record({
  list: fc.constantFrom("allow" as const, "block" as const),
  host: fc.constantFrom("good.example.com", "*.example.com", "evil.com", "127.*"),
  pattern: action,
  shadow,
});
const data = fc.record({
  pattern: fc.constantFrom("TCK-1", "TCK-1", "zzz"),
  effect: fc.constantFrom("block" as const, "review" as const, "review" as const, "redact" as const),
  action: fc.oneof(fc.constant("*"), action),
  in: fc.constantFrom(["arguments"] as const, ["results"] as const, ["arguments", "results"] as const),
  shadow,
});
const file = fc.record({
  agent: fc.constantFrom("*", "a", "b"),
  default: fc.option(list, { nil: null }),
  onChange: fc.option(list, { nil: null }),
  shadow,
  rules: fc.array(rule, { maxLength: 4 }),
  limits: fc.array(limit, { maxLength: 1 }),
  hosts: fc.array(host, { maxLength: 2 }),
  data: fc.array(data, { maxLength: 2 }),
});
const files = fc.array(file, { maxLength: 3 }).map((drawn) =>
  drawn.map((one, number): PolicyFile => {
    let line = 0;
    const name = `${number}.yaml`;
    const placed = <T extends object>(entry: T) => ({
      ...bare(entry),
      reason: null,
      file: name,
      line: ++line,
      ...(one.shadow === true ? { shadow: true as const } : {}),
    });
    return {
      file: name,
      agent: one.agent,
      owner: null,
      default: one.default,
      onChange: one.onChange,
      ...(one.shadow === true ? { shadow: true } : {}),
      rules: one.rules.map(({ approval: terms, ...each }): Rule => {
        return placed({ ...each, approval: each.list === "review" ? terms : undefined }) as Rule;
      }),
      limits: one.limits.map((each): Limit => placed(each) as Limit),
      hosts: one.hosts.map((each): HostRule => placed(each) as HostRule),
      data: one.data.map((each): PlacedDataRule => {
        const entry = placed({ ...each, detect: "custom" as const, name: "t" });
        return { ...entry, rule: `${name}:${entry.line} data t` };
      }),
    };
  }),
);
const known = fc
  .record({
    state: fc.constantFrom<ToolFacts["state"]>("accepted", "accepted", "new", "added", "changed"),
    suspicious: fc.constantFrom(null, null, null, "It looks like b__x"),
    claims: fc.constantFrom({}, { danger: true }, { danger: false }),
  })
  .map((facts): ToolFacts => facts);
const args = fc
  .record({
    n: fc.option(fc.constantFrom(0, 5, "5"), { nil: undefined, freq: 8 }),
    s: fc.option(fc.constantFrom("x", "xx", "TCK-1", 7), { nil: undefined, freq: 8 }),
    url: rarely(fc.constantFrom(...Object.keys(urls))),
    note: fc.option(fc.constant("see TCK-1"), { nil: undefined }),
  })
  .map(bare);
const question = fc
  .record({
    agent: fc.constantFrom("a", "b"),
    server: fc.constantFrom("a", "b"),
    tool: fc.constantFrom("x", "y", "yy", "\u0445"),
    args,
    known: fc.option(known, { nil: undefined, freq: 6 }),
  })
  .map((drawn): Question => ({ ...bare(drawn), action: `${drawn.server}__${drawn.tool}` }));

it("decides the whole format as the reference does, whatever the order (P9, P10)", () => {
  const seen = new Map<string, number>();
  const see = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
  fc.assert(
    fc.property(files, question, fc.nat(), (drawn, asked, seed) => {
      const set = { revision: "", files: drawn };
      const counts = new Map(countsNeeded(set, asked).map((key) => [countKey(key), countOf(key)]));
      const decided = decide(set, { ...asked, counts });
      const { reason: _reason, shadow: told, ...plain } = decided;
      const expected = reference(drawn, asked, false);
      expect(plain).toEqual(expected);
      const other = reference(drawn, asked, true);
      const differs = other.decision !== expected.decision || other.rule !== expected.rule;
      expect(told).toEqual(differs ? { decision: other.decision, rule: other.rule } : undefined);
      const again = { revision: "", files: shuffled(drawn, seed) };
      expect(decide(again, { ...asked, counts })).toEqual(decided);
      see(`${plain.decision} by ${plain.rule?.split(" ")[1] ?? "default"}`);
      for (const what of ["passing", "error", "requirement", "expires"] as const)
        if (plain[what] !== undefined) see(what);
      if (plain.requirement?.grant) see("grant");
      if (told !== undefined) see("shadow");
    }),
    { numRuns: 3_000 },
  );
  for (const kind of [
    "ALLOW by allow",
    "ALLOW by default",
    "REVIEW by review",
    "REVIEW by default",
    "REVIEW by data",
    "BLOCK by block",
    "BLOCK by default",
    "BLOCK by servers",
    "BLOCK by data",
    "BLOCK by limits",
    "passing",
    "error",
    "requirement",
    "grant",
    "shadow",
  ])
    expect(seen.get(kind) ?? 0, kind).toBeGreaterThan(10);
}, 60_000);
