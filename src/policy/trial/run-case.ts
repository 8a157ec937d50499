import { parseDuration } from "../../duration.js";
import { noRequirement } from "../../requirement.js";
import { countKey, type PolicyDecision, type PolicySet, type Question } from "../policy.js";
import type { Case } from "./cases.js";
import { type Rehearsal, rehearse, rehearseResult } from "./rehearse.js";
import { uncounted } from "./uncounted.js";

export interface CaseResult {
  readonly passed: boolean;
  readonly decision: PolicyDecision;
  /** What is not as expected, a sentence each. */
  readonly differences: readonly string[];
}

/** Asks the policies about one case. @throws Error where the case itself cannot be read */
export function runCase(set: PolicySet, test: Case, agent: string): CaseResult {
  const question = questionOf(test, agent);
  let rehearsal = rehearse(set, question, argumentsOf(test));
  const { result } = test.call;
  if (result !== undefined && rehearsal.decision.decision === "ALLOW")
    rehearsal = rehearseResult(set, question, JSON.stringify(result));
  const differences = differencesOf(test, rehearsal);
  return { passed: differences.length === 0, decision: rehearsal.decision, differences };
}

function questionOf({ call }: Case, agent: string): Omit<Question, "args"> {
  const { action, client, tool, now, counts } = call;
  const [, server, name] = /^(.+?)__(.+)$/s.exec(action) ?? [];
  if (server === undefined || name === undefined) throw new Error(`"${action}" is not SERVER__TOOL`);
  const known = counts.map((counted): [string, number] =>
    "calls" in counted
      ? [countKey({ pattern: counted.action, window: parseDuration(counted.per) }), counted.calls]
      : [countKey({ pattern: counted.action, window: null }), counted.concurrent],
  );
  return {
    agent,
    server,
    tool: name,
    action,
    ...(client === undefined ? {} : { client }),
    ...(tool === undefined ? {} : { known: tool }),
    now: now === undefined ? Date.now() : Date.parse(now),
    counts: uncounted(known),
  };
}

function argumentsOf({ call: { args } }: Case): string {
  if (args === undefined) return "";
  if (typeof args !== "string") return JSON.stringify(args);
  try {
    JSON.parse(args);
  } catch {
    throw new Error("args is a text, and not JSON");
  }
  return args;
}

function differencesOf({ expect, call }: Case, { decision: said, text }: Rehearsal): string[] {
  const wanted: Exclude<Case["expect"], string> = typeof expect === "string" ? { decision: expect } : expect;
  const { approvers, quorum, channels, grant } = said.requirement ?? noRequirement;
  const differences: string[] = [];
  const same = (what: string, expected: unknown, is: unknown): void => {
    if (expected === undefined || JSON.stringify(expected) === JSON.stringify(is)) return;
    differences.push(`${what}: expected ${JSON.stringify(expected)}, is ${JSON.stringify(is)}`);
  };
  same("decision", wanted.decision, said.decision);
  // A rule without its place stays the same when lines are added above it.
  const { rule } = wanted;
  if (rule === undefined || rule === null || !said.rule?.endsWith(` ${rule}`)) same("rule", rule, said.rule);
  if (wanted.reason !== undefined && !said.reason.includes(wanted.reason))
    same("reason", wanted.reason, said.reason);
  same("error", wanted.error, said.error === true);
  same("approvers", wanted.approvers?.toSorted(), [...new Set(approvers.flat())].toSorted());
  same("quorum", wanted.quorum, quorum);
  same("channels", wanted.channels?.toSorted(), channels.toSorted());
  same("expires", wanted.expires && parseDuration(wanted.expires), said.expires ?? null);
  same("grant", wanted.grant, grant !== null);
  same("shadow", wanted.shadow, said.shadow?.decision ?? null);
  const left = text === "" ? null : canonical(JSON.parse(text));
  same(
    call.result === undefined ? "args" : "result",
    canonical(call.result === undefined ? wanted.args : wanted.result),
    left,
  );
  return differences;
}

/** The same value whatever the order of its members. */
function canonical(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(canonical);
  return Object.fromEntries(
    Object.entries(value)
      .map(([name, member]) => [name, canonical(member)] as const)
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}
