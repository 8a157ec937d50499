import { type CompiledRule, rulesFor } from "../compile.js";
import { ConditionError } from "../condition.js";
import { evaluate } from "../decide.js";
import type { List, PolicyDecision, PolicySet, Question } from "../policy.js";

/** A decision and how it came about, for `aegis policy explain`. */
export interface Explanation {
  readonly decision: PolicyDecision;
  /** Every file of the set; only those that apply were considered. */
  readonly files: ReadonlyArray<{
    readonly file: string;
    readonly agent: string;
    readonly applies: boolean;
    readonly default: List | null;
    readonly shadow: boolean;
  }>;
  /** Every rule that was considered, the strongest first: of those that match, the first in force wins. */
  readonly rules: readonly ConsideredRule[];
  /** Every limit, host and rule for data that was considered. */
  readonly entries: readonly ConsideredEntry[];
}

export interface ConsideredRule {
  /** As decisions name it: `file.yaml:12 allow files__*`. */
  readonly rule: string;
  readonly file: string;
  readonly line: number;
  readonly list: List;
  readonly pattern: string;
  readonly reason: string | null;
  readonly when: string | null;
  readonly shadow: boolean;
  /** Its pattern matches, and its condition, if any, is not false. */
  readonly matched: boolean;
  /** Null where there is none, or its pattern does not match. */
  readonly condition: "true" | "false" | `error: ${string}` | null;
  /** At most one did. None, where a default or an entry decided, or no rule may allow this tool. */
  readonly won: boolean;
}

export interface ConsideredEntry {
  /** `file.yaml:20 limits mail__*`. */
  readonly rule: string;
  readonly kind: "limits" | "servers" | "data";
  readonly file: string;
  readonly line: number;
  /** Of actions. */
  readonly pattern: string;
  readonly reason: string | null;
  readonly shadow: boolean;
  /** Its pattern matches the action. */
  readonly matched: boolean;
  /** It is what the decision names. */
  readonly won: boolean;
}

/** Decides as `decide` does, and shows everything that had a say. Asks each of them: not for the path of a call. */
export function explain(set: PolicySet, question: Question): Explanation {
  const { decision, winner } = evaluate(set, question);
  const considered = rulesFor(set, question.agent);
  const applying = new Set(considered.files);
  return {
    decision,
    files: set.files.map((file) => ({
      file: file.file,
      agent: file.agent,
      applies: applying.has(file),
      default: file.default,
      shadow: file.shadow === true,
    })),
    rules: considered.considered.map((compiled) => ruleOf(compiled, question, winner)),
    entries: entriesOf(set, question, winner === null ? decision.rule : null),
  };
}

function ruleOf(compiled: CompiledRule, question: Question, winner: CompiledRule | null): ConsideredRule {
  const { rule, label } = compiled;
  const named = compiled.matches(question);
  const condition = named ? conditionOf(compiled, question) : null;
  return {
    rule: label,
    file: rule.file,
    line: rule.line,
    list: rule.list,
    pattern: rule.pattern,
    reason: rule.reason,
    when: rule.when ?? null,
    shadow: rule.shadow === true,
    matched: named && condition !== "false",
    condition,
    // The same rule is compiled once: its rank names it.
    won: winner !== null && winner.rank === compiled.rank,
  };
}

function conditionOf({ condition }: CompiledRule, question: Question): ConsideredRule["condition"] {
  if (condition === null) return null;
  const result = condition.test(question);
  return result instanceof ConditionError ? `error: ${result.why}` : result ? "true" : "false";
}

function entriesOf(set: PolicySet, question: Question, won: string | null): ConsideredEntry[] {
  const rules = rulesFor(set, question.agent);
  const entry = (
    kind: ConsideredEntry["kind"],
    rule: string,
    pattern: string,
    placed: { readonly file: string; readonly line: number; readonly reason: string | null },
    { matches, shadow }: { matches: CompiledRule["matches"]; shadow: boolean },
  ): ConsideredEntry => ({
    rule,
    kind,
    file: placed.file,
    line: placed.line,
    pattern,
    reason: placed.reason,
    shadow,
    matched: matches(question),
    won: won === rule && !shadow,
  });
  return [
    ...rules.hosts.map((one) => entry("servers", one.label, one.host.pattern, one.host, one)),
    ...rules.data.map((one) => entry("data", one.data.rule, one.data.action, one.data, one)),
    ...rules.limits.map((one) => entry("limits", one.label, one.limit.pattern, one.limit, one)),
  ];
}
