import { visible } from "../visible.js";
import { baseName, ruleLabel } from "./label.js";
import { compilePattern, isExact } from "./pattern.js";
import {
  type List,
  lists,
  type PolicyDecision,
  type PolicyFile,
  type PolicySet,
  type Question,
  type Rule,
} from "./policy.js";

/** A rule, ready to be asked. */
export interface CompiledRule {
  readonly rule: Rule;
  readonly label: string;
  /** Matches one name only. */
  readonly exact: boolean;
  /** Its place among all rules of the agent, the strongest first: of two that match, the lower wins. */
  readonly rank: number;
  readonly matches: (question: Question) => boolean;
  /** What it says where it wins. */
  readonly decision: PolicyDecision;
}

/** Everything that is said of one agent. */
export interface AgentRules {
  /** The files that speak of it. */
  readonly files: readonly PolicyFile[];
  /** By rank. */
  readonly rules: readonly CompiledRule[];
  /** The strongest exact rule of each action, and of each tool's own name. */
  readonly byAction: ReadonlyMap<string, CompiledRule>;
  readonly byTool: ReadonlyMap<string, CompiledRule>;
  /** The others, by rank. */
  readonly patterns: readonly CompiledRule[];
  /** Review rules that state an expiry, by rank. */
  readonly expiring: readonly CompiledRule[];
  /** What holds where no rule matches. */
  readonly fallback: PolicyDecision;
}

const decisionOf = { block: "BLOCK", review: "REVIEW", allow: "ALLOW" } as const;

const sentences = {
  block: (label: string) => `Blocked by the rule ${label}.`,
  review: (label: string) => `A person must decide, says the rule ${label}.`,
  allow: (label: string) => `Allowed by the rule ${label}.`,
};

interface CompiledFile {
  readonly file: PolicyFile;
  readonly applies: (agent: string) => boolean;
  readonly rules: ReadonlyArray<Omit<CompiledRule, "rank">>;
}

interface CompiledSet {
  readonly files: readonly CompiledFile[];
  readonly agents: Map<string, AgentRules>;
}

/** Agents remembered for one set. A caller that invents names costs time, never memory without end. */
const remembered = 1_024;

const compiled = new WeakMap<PolicySet, CompiledSet>();

/** What `set` says of `agent`, compiled at the first question and remembered as long as the set lives. */
export function rulesFor(set: PolicySet, agent: string): AgentRules {
  let known = compiled.get(set);
  if (known === undefined) {
    known = { files: set.files.map(compileFile), agents: new Map() };
    compiled.set(set, known);
  }
  let rules = known.agents.get(agent);
  if (rules === undefined) {
    rules = gather(known.files.filter((file) => file.applies(agent)));
    if (known.agents.size >= remembered) known.agents.clear();
    known.agents.set(agent, rules);
  }
  return rules;
}

function compileFile(file: PolicyFile): CompiledFile {
  const rules = file.rules.map((rule) => {
    const test = compilePattern(rule.pattern);
    const label = ruleLabel(rule);
    return {
      rule,
      label,
      exact: isExact(rule.pattern),
      matches: ofAction(rule)
        ? (question: Question) => test(question.action)
        : (question: Question) => test(question.tool),
      decision: {
        decision: decisionOf[rule.list],
        rule: label,
        reason: rule.reason ?? sentences[rule.list](label),
      },
    };
  });
  return { file, applies: compilePattern(file.agent), rules };
}

/** Without `__` a pattern speaks of the tool's own name; the loader lets it through only where one server is governed. */
function ofAction(rule: Rule): boolean {
  return rule.pattern.includes("__");
}

function gather(files: readonly CompiledFile[]): AgentRules {
  const rules = files
    .flatMap((file) => file.rules)
    .toSorted(strongerFirst)
    .map((rule, rank) => ({ ...rule, rank }));
  const byAction = new Map<string, CompiledRule>();
  const byTool = new Map<string, CompiledRule>();
  for (const rule of rules.filter(({ exact }) => exact)) {
    const index = ofAction(rule.rule) ? byAction : byTool;
    if (!index.has(rule.rule.pattern)) index.set(rule.rule.pattern, rule);
  }
  const applying = files.map(({ file }) => file);
  return {
    files: applying,
    rules,
    byAction,
    byTool,
    patterns: rules.filter(({ exact }) => !exact),
    expiring: rules.filter(({ rule }) => rule.list === "review" && rule.expires !== undefined),
    fallback: fallbackOf(applying),
  };
}

/** Deny wins; among equals the exact rule, then the place in the files, so that which rule is named never varies. */
function strongerFirst(a: Omit<CompiledRule, "rank">, b: Omit<CompiledRule, "rank">): number {
  return (
    lists.indexOf(a.rule.list) - lists.indexOf(b.rule.list) ||
    Number(b.exact) - Number(a.exact) ||
    compareText(baseName(a.rule.file), baseName(b.rule.file)) ||
    a.rule.line - b.rule.line ||
    compareText(a.rule.pattern, b.rule.pattern)
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

function fallbackOf(files: readonly PolicyFile[]): PolicyDecision {
  const strictest: List = lists.find((list) => files.some((file) => file.default === list)) ?? "review";
  const names = files.map((file) => visible(baseName(file.file))).toSorted(compareText);
  const shown =
    names.length <= 3 ? names.join(", ") : `${names.slice(0, 3).join(", ")} and ${names.length - 3} more`;
  const reason =
    names.length === 0
      ? "No policy speaks of this agent: the default is review."
      : `No rule of ${shown} matches: the default is ${strictest}.`;
  return { decision: decisionOf[strictest], rule: null, reason };
}
