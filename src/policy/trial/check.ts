import { ruleLabel } from "../label.js";
import { requirementOf } from "../merge.js";
import { inOrder } from "../order.js";
import { compilePattern, isExact, ofAction } from "../pattern.js";
import { type List, lists, type PolicyFile, type PolicySet, type Rule } from "../policy.js";

/** Something about policies that are valid one by one: they load, but do not do what they say. */
export interface Remark {
  /** An `error` is a rule in force that nobody can ever satisfy; a `warning` may be meant. */
  readonly level: "error" | "warning";
  readonly file: string;
  readonly line: number;
  /** A sentence: what, why, and what to do. */
  readonly message: string;
}

/** What is known of the world the policies are for; what is left out is not checked. */
export interface KnownWorld {
  /** Every action there is, `server__tool`. */
  readonly actions?: readonly string[];
  /** Everybody who may approve. */
  readonly approvers?: ReadonlyArray<{ readonly name: string; readonly groups: readonly string[] }>;
}

/** Unreachable rules, patterns that match no known action, and requirements nobody can meet, in the order of the files. */
export function checkPolicies(set: PolicySet, known: KnownWorld = {}): readonly Remark[] {
  return [
    ...unreachable(set),
    ...(known.actions === undefined ? [] : unmatched(set, known.actions)),
    ...set.files.flatMap(({ rules }) => rules.flatMap((rule) => unsatisfiable(rule, known))),
    ...contradictory(set),
  ].toSorted(inOrder);
}

interface Spoken {
  readonly file: PolicyFile;
  readonly rule: Rule;
  readonly covers: (pattern: string) => boolean;
}

/** A stronger rule without a condition, for all of its agents and actions, always comes first. */
function unreachable(set: PolicySet): Remark[] {
  const always: Spoken[] = set.files.flatMap((file) =>
    file.rules
      .filter(({ when, shadow }) => when === undefined && shadow !== true)
      // A star of the other pattern is a character like any other to this one: only a star can match it.
      .map((rule) => ({ file, rule, covers: compilePattern(rule.pattern) })),
  );
  const exact = new Map<string, Spoken[]>();
  for (const one of always.filter(({ rule }) => isExact(rule.pattern)))
    exact.set(one.rule.pattern, [...(exact.get(one.rule.pattern) ?? []), one]);
  const wild = always.filter(({ rule }) => !isExact(rule.pattern));
  const strongerWild = new Map(
    lists.map((list) => [list, wild.filter(({ rule }) => isStronger(rule.list, list))] as const),
  );
  return set.files.flatMap((file) =>
    file.rules.flatMap((rule) => {
      const comesFirst = ({ file: other, rule: one, covers }: Spoken) =>
        isStronger(one.list, rule.list) &&
        covers(rule.pattern) &&
        (one.pattern === "*" || ofAction(one.pattern) === ofAction(rule.pattern)) &&
        compilePattern(other.agent)(file.agent);
      const found =
        exact.get(rule.pattern)?.find(comesFirst) ?? strongerWild.get(rule.list)?.find(comesFirst);
      if (found === undefined) return [];
      const verb = found.rule.list === "block" ? "blocks" : "holds";
      const message = `The rule ${ruleLabel(rule)} never decides: ${ruleLabel(found.rule)} ${verb} all it matches. Remove it, or narrow the other.`;
      return [{ level: "warning" as const, file: rule.file, line: rule.line, message }];
    }),
  );
}

function isStronger(one: List, other: List): boolean {
  return lists.indexOf(one) < lists.indexOf(other);
}

function unmatched(set: PolicySet, actions: readonly string[]): Remark[] {
  const names = new Set(actions);
  const tools = actions.map((action) => action.slice(action.indexOf("__") + 2));
  const matchesAny = (pattern: string): boolean => {
    if (pattern === "*" || names.has(pattern)) return true;
    if (isExact(pattern)) return !ofAction(pattern) && tools.includes(pattern);
    return (ofAction(pattern) ? actions : tools).some(compilePattern(pattern));
  };
  return set.files.flatMap((file) => {
    const placed = [
      ...file.rules,
      ...file.limits,
      ...file.hosts,
      ...file.data.map((rule) => ({ ...rule, pattern: rule.action })),
    ];
    return placed
      .filter(({ pattern }) => !matchesAny(pattern))
      .map(({ pattern, line }) => ({
        level: "warning" as const,
        file: file.file,
        line,
        message: `The pattern ${pattern} matches no tool that is known. Compare it with the tools of "aegis tools list".`,
      }));
  });
}

/** What is only in shadow holds no call: it is no reason to refuse a start. */
function levelOf(...rules: readonly Rule[]): Remark["level"] {
  return rules.some(({ shadow }) => shadow === true) ? "warning" : "error";
}

function unsatisfiable(rule: Rule, { approvers }: KnownWorld): Remark[] {
  const { approval } = rule;
  if (approval === undefined) return [];
  const quorum = approval.quorum ?? 1;
  const error = (message: string): Remark[] => [
    {
      level: levelOf(rule),
      file: rule.file,
      line: rule.line,
      message: `The rule ${ruleLabel(rule)} ${message}`,
    },
  ];
  const onlyClient = approval.channels?.every((channel) => channel === "client") ?? false;
  if (onlyClient && (quorum > 1 || approval.approvers !== undefined))
    return error(
      "can never be approved: who answers in the client is nobody's name. Add cli or page to its channels.",
    );
  if (approvers === undefined || onlyClient) return [];
  const groups = approval.approvers;
  const able = approvers.filter(
    (person) => groups === undefined || groups.some((group) => person.groups.includes(group)),
  );
  const people = new Set(able.map(({ name }) => name)).size;
  if (people >= quorum) return [];
  const who = groups === undefined ? "with the role approver or admin" : `in ${groups.join(" or ")}`;
  return error(
    `can never be approved: it asks for ${quorum} ${quorum === 1 ? "person" : "people"} ${who}, and there ${people === 1 ? "is 1" : `are ${people}`}. Make tokens for them, or ask for fewer.`,
  );
}

/** Two review rules for the same action whose channels have nothing in common. */
function contradictory(set: PolicySet): Remark[] {
  const stated = set.files.flatMap((file) =>
    file.rules.filter(({ approval }) => approval?.channels !== undefined).map((rule) => ({ file, rule })),
  );
  return stated.flatMap(({ file, rule }, index) =>
    stated.slice(0, index).flatMap(({ file: otherFile, rule: other }) => {
      const [one, two] = [compilePattern(rule.pattern), compilePattern(other.pattern)];
      const meet = one(other.pattern) || two(rule.pattern);
      const agents =
        compilePattern(file.agent)(otherFile.agent) || compilePattern(otherFile.agent)(file.agent);
      if (!meet || !agents) return [];
      const { channels } = requirementOf([rule.approval ?? {}, other.approval ?? {}], false);
      if (channels.length > 0) return [];
      const message = `The rules ${ruleLabel(other)} and ${ruleLabel(rule)} can never be approved together: no channel is in both. Give them one in common.`;
      return [{ level: levelOf(rule, other), file: rule.file, line: rule.line, message }];
    }),
  );
}
