import type { Candidates } from "./candidates.js";
import { type Condition, ConditionError, compileCondition } from "./condition.js";
import { type CompiledData, type CompiledHost, type CompiledLimit, compileEntries } from "./entries.js";
import { fallbackOf, onChangeOf } from "./fallback.js";
import { ruleLabel } from "./label.js";
import { compareText, inOrder } from "./order.js";
import { compilePattern, isExact, ofAction } from "./pattern.js";
import {
  type List,
  lists,
  type PolicyDecision,
  type PolicyFile,
  type PolicySet,
  type Question,
  type Rule,
} from "./policy.js";

/** What of a question a pattern can match. */
export type Named = Pick<Question, "server" | "tool" | "action">;

/** A rule, ready to be asked. */
export interface CompiledRule {
  readonly rule: Rule;
  readonly label: string;
  /** Matches one name only. */
  readonly exact: boolean;
  /** Its place among all rules of the agent, the strongest first: of two that match, the lower wins. */
  readonly rank: number;
  readonly matches: (question: Named) => boolean;
  /** Null where it holds whatever the arguments are. */
  readonly condition: Condition | null;
  /** What it says where it wins. */
  readonly decision: PolicyDecision;
}

/** Everything that is said of one agent. */
export interface AgentRules {
  /** The files that speak of it. */
  readonly files: readonly PolicyFile[];
  /** Those in force, by rank; and those in shadow too. */
  readonly rules: readonly CompiledRule[];
  readonly considered: readonly CompiledRule[];
  readonly limits: readonly CompiledLimit[];
  readonly hosts: readonly CompiledHost[];
  readonly data: readonly CompiledData[];
  /** What holds where no rule matches, and for tools that nobody accepted: in force, and if shadow counted. */
  readonly fallback: PolicyDecision;
  readonly onChange: List;
  readonly shadow: { readonly fallback: PolicyDecision; readonly onChange: List };
  /** What speaks of one action, remembered (`candidates.ts`). */
  readonly candidates: Map<string, Candidates>;
}

const decisionOf = { block: "BLOCK", review: "REVIEW", allow: "ALLOW" } as const;

const sentences = {
  block: (label: string) => `Blocked by the rule ${label}.`,
  review: (label: string) => `A person must decide, says the rule ${label}.`,
  allow: (label: string) => `Allowed by the rule ${label}.`,
};

type Unranked = Omit<CompiledRule, "rank">;

interface CompiledFile {
  readonly file: PolicyFile;
  readonly applies: (agent: string) => boolean;
  readonly rules: readonly Unranked[];
}

interface CompiledSet {
  readonly files: readonly CompiledFile[];
  readonly agents: Map<string, AgentRules>;
  /** The same files speak of many agents. */
  readonly byFiles: Map<string, AgentRules>;
}

/** Agents remembered for one set. A caller that invents names costs time, never memory without end. */
const remembered = 1_024;

const compiled = new WeakMap<PolicySet, CompiledSet>();

/** What `set` says of `agent`, compiled at the first question and remembered as long as the set lives. */
export function rulesFor(set: PolicySet, agent: string): AgentRules {
  let known = compiled.get(set);
  if (known === undefined) {
    known = { files: set.files.map(compileFile), agents: new Map(), byFiles: new Map() };
    compiled.set(set, known);
  }
  let rules = known.agents.get(agent);
  if (rules === undefined) {
    rules = gathered(known, agent);
    if (known.agents.size >= remembered) known.agents.clear();
    known.agents.set(agent, rules);
  }
  return rules;
}

function gathered({ files, byFiles }: CompiledSet, agent: string): AgentRules {
  const applying = files.flatMap((file, index) => (file.applies(agent) ? [index] : []));
  const key = applying.join();
  let rules = byFiles.get(key);
  if (rules === undefined) {
    rules = gather(files.filter((_file, index) => applying.includes(index)));
    if (byFiles.size >= remembered) byFiles.clear();
    byFiles.set(key, rules);
  }
  return rules;
}

function compileFile(file: PolicyFile): CompiledFile {
  const rules = file.rules.map((rule): Unranked => {
    const test = compilePattern(rule.pattern);
    const label = ruleLabel(rule);
    return {
      rule,
      label,
      exact: isExact(rule.pattern),
      matches: ofAction(rule.pattern)
        ? (question: Named) => test(question.action)
        : (question: Named) => test(question.tool),
      condition: rule.when === undefined ? null : conditionOf(rule.when),
      decision: {
        decision: decisionOf[rule.list],
        rule: label,
        reason: rule.reason ?? sentences[rule.list](label),
      },
    };
  });
  return { file, applies: compilePattern(file.agent), rules };
}

/** The loader lets no other expression through; where one comes another way, it denies. */
function conditionOf(when: string): Condition {
  const result = compileCondition(when);
  if ("test" in result) return result;
  return { windows: [], test: () => new ConditionError("it is not a condition") };
}

function gather(files: readonly CompiledFile[]): AgentRules {
  const considered = files
    .flatMap((file) => file.rules)
    .toSorted(strongerFirst)
    .map((rule, rank) => ({ ...rule, rank }));
  const applying = files.map(({ file }) => file);
  const inForce = applying.filter((file) => file.shadow !== true);
  return {
    files: applying,
    considered,
    rules: considered.filter(({ rule }) => rule.shadow !== true),
    ...compileEntries(applying),
    fallback: fallbackOf(inForce),
    onChange: onChangeOf(inForce),
    shadow: { fallback: fallbackOf(applying), onChange: onChangeOf(applying) },
    candidates: new Map(),
  };
}

/** Deny wins; among equals the exact rule, then the place in the files, so that which rule is named never varies. */
function strongerFirst(a: Unranked, b: Unranked): number {
  return (
    lists.indexOf(a.rule.list) - lists.indexOf(b.rule.list) ||
    Number(b.exact) - Number(a.exact) ||
    inOrder(a.rule, b.rule) ||
    compareText(a.rule.pattern, b.rule.pattern) ||
    compareText(a.rule.when ?? "", b.rule.when ?? "")
  );
}
