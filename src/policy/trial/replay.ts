import { conditionArguments, InexactNumber } from "../arguments.js";
import { type Candidates, candidatesOf } from "../candidates.js";
import { rulesFor } from "../compile.js";
import { countsNeeded } from "../counts.js";
import { decide } from "../decide.js";
import { ruleLabel } from "../label.js";
import type { PolicyDecision, PolicySet, Question } from "../policy.js";
import { rehearse } from "./rehearse.js";

/** A decision as the ledger has it. */
export interface Recorded {
  readonly agent: string;
  readonly server: string;
  readonly tool: string;
  readonly action: string;
  /** JSON text; empty for none. */
  readonly arguments: string;
  /** Whether a text that stands in the arguments is not, or not wholly, what was called with. */
  readonly isRedacted: (text: string) => boolean;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

export type Replayed =
  | { readonly decision: PolicyDecision; readonly limits: boolean }
  /** It depends on something that is not in the ledger: why, as a phrase. */
  | { readonly unknown: string };

/**
 * What a policy would have decided about a recorded call; unknown, never guessed, where that depends on what the ledger
 * does not have: values that were redacted, how many calls there had been, what client and server said of themselves.
 * `limits`: some speak of the call, and were not counted.
 */
export function replay(set: PolicySet, recorded: Recorded): Replayed {
  const { agent, server, tool, action, at } = recorded;
  const question = { agent, server, tool, action, now: at };
  const candidates = candidatesOf(rulesFor(set, agent), question);
  const limits = candidates.limits.length > 0;
  const counted = withoutLimits(set);
  const hidden = hide(recorded);
  if (hidden === null) {
    const { decision } = rehearse(counted, question, recorded.arguments);
    return settle(decision, limits, [...unsaid(counted, question, candidates, decision)]);
  }
  const asked = { ...question, args: hidden.args };
  const blocked = certainBlock(candidates, asked);
  if (blocked !== null) return { decision: blocked, limits };
  const decision = decide(counted, asked);
  const reasons = [...unsaid(counted, question, candidates, decision)];
  if (decision.error === true) reasons.unshift(`the rule ${decision.rule ?? ""} reads a redacted value`);
  else if (decision.decision !== "BLOCK") {
    // A member that was left out may be what they look for.
    if (hidden.incomplete && mentions(candidates, /\bargs\b/))
      reasons.push("a condition may read a member that the ledger leaves out");
    if (candidates.hosts.length > 0) reasons.push("rules for servers would read a redacted value");
    if (candidates.data.length > 0) reasons.push("rules for data would read a redacted value");
  }
  return settle(decision, limits, reasons);
}

function settle(decision: PolicyDecision, limits: boolean, [unknown]: readonly string[]): Replayed {
  return unknown === undefined ? { decision, limits } : { unknown };
}

/** What no redaction hides, and the ledger does not have either. A BLOCK that no condition failed for stands whatever it is. */
function* unsaid(
  set: PolicySet,
  question: Question,
  candidates: Candidates,
  decision: PolicyDecision,
): Generator<string> {
  if (decision.decision === "BLOCK" && decision.error !== true) return;
  if (decision.error === true && countsNeeded(set, question).length > 0)
    yield `the rule ${decision.rule ?? ""} counts calls`;
  if (mentions(candidates, /\b(?:client|claims)\b/))
    yield "a condition reads what client or server said of themselves";
}

/** A rule that blocks whatever is hidden: another that cannot be evaluated changes nothing. */
function certainBlock({ rules }: Candidates, question: Question): PolicyDecision | null {
  const sure = rules.find(
    ({ rule, condition }) =>
      rule.list === "block" && (condition === null || condition.test(question) === true),
  );
  if (sure === undefined) return null;
  const label = ruleLabel(sure.rule);
  return { decision: "BLOCK", rule: label, reason: sure.rule.reason ?? `Blocked by the rule ${label}.` };
}

/** A condition that holds the word, in a rule that matches by its pattern. */
function mentions({ rules }: Candidates, word: RegExp): boolean {
  return rules.some(({ rule }) => rule.when !== undefined && word.test(rule.when));
}

const stripped = new WeakMap<PolicySet, PolicySet>();

/** Counts are not known: a limit would refuse everything. */
function withoutLimits(set: PolicySet): PolicySet {
  let without = stripped.get(set);
  if (without === undefined) {
    without = { ...set, files: set.files.map((file) => ({ ...file, limits: [] })) };
    stripped.set(set, without);
  }
  return without;
}

/**
 * The arguments, with something no condition can read in the place of what is redacted; null where nothing is. What an
 * object or a list does not wholly tell cannot be read as a whole.
 */
function hide(recorded: Recorded): { readonly args: unknown; readonly incomplete: boolean } | null {
  const { arguments: text, isRedacted } = recorded;
  if (text === "") return null;
  let found = false;
  const unreadable = (): unknown => {
    found = true;
    return new InexactNumber("redacted");
  };
  const visit = (value: unknown): unknown => {
    if (typeof value === "string") return isRedacted(value) ? unreadable() : value;
    if (typeof value !== "object" || value === null || value instanceof InexactNumber) return value;
    if (Array.isArray(value)) {
      const last: unknown = value.at(-1);
      return typeof last === "string" && isCut(last) ? unreadable() : value.map(visit);
    }
    const members = Object.entries(value);
    if (members.some(([name]) => isRedacted(name))) return unreadable();
    return Object.fromEntries(members.map(([name, member]) => [name, visit(member)]));
  };
  const parsed: unknown = conditionArguments(text, JSON.parse(text));
  const isObject = typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
  const members = isObject ? Object.entries(parsed) : [];
  const told = members.filter(([name]) => !isRedacted(name));
  const incomplete = told.length < members.length;
  const args = isObject
    ? Object.fromEntries(told.map(([name, member]) => [name, visit(member)]))
    : visit(parsed);
  return found || incomplete ? { args, incomplete } : null;
}

function isCut(text: string): boolean {
  return /^\[\d+ more items\]$/.test(text);
}
