import { rulesFor } from "./compile.js";
import { evaluate } from "./decide.js";
import type { List, PolicyDecision, PolicySet, Question } from "./policy.js";

/** A decision and how it came about, for `aegis policy explain`. */
export interface Explanation {
  readonly decision: PolicyDecision;
  /** Every file of the set; only those that apply were considered. */
  readonly files: ReadonlyArray<{
    readonly file: string;
    readonly agent: string;
    readonly applies: boolean;
    readonly default: List | null;
  }>;
  /** Every rule that was considered, the strongest first: of those that match, the first wins. */
  readonly rules: readonly ConsideredRule[];
}

export interface ConsideredRule {
  /** As decisions name it: `file.yaml:12 allow files__*`. */
  readonly rule: string;
  readonly list: List;
  readonly pattern: string;
  readonly reason: string | null;
  readonly matched: boolean;
  /** At most one did. None, where a default decided or no rule may allow a name so unusual. */
  readonly won: boolean;
}

/** Decides as `decide` does, and shows every rule that had a say. Asks each of them: not for the path of a call. */
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
    })),
    rules: considered.rules.map((compiled) => ({
      rule: compiled.label,
      list: compiled.rule.list,
      pattern: compiled.rule.pattern,
      reason: compiled.rule.reason,
      matched: compiled.matches(question),
      won: compiled === winner,
    })),
  };
}
