import { candidatesOf } from "../../policy/candidates.js";
import { rulesFor } from "../../policy/compile.js";
import { type Declared, type DeclaredDecision, decideDeclared } from "../../policy/declared.js";
import { isExact } from "../../policy/pattern.js";
import type { PolicySet, Question } from "../../policy/policy.js";
import { uncounted } from "../../policy/trial/uncounted.js";
import type { PolicySource } from "../policies.js";
import type { ActionRule, RuleType } from "../service.js";
import type { Statement, Store } from "../store/store.js";
import { actionProblem, sdkCall, spellings } from "./action.js";
import type { Declarations } from "./declarations.js";

interface RuleRow {
  readonly policy: number;
  readonly status: string | null;
  readonly rule: RuleType | null;
  readonly trusted: number | null;
}

const newest = "SELECT value FROM counters WHERE name = 'policy_revisions'";
const ruleTypes = { allow: "ALLOW", block: "BLOCK", review: "REVIEW" } as const;

/** What policy says to an agent that asks about itself, beside a transaction. */
export class Rules {
  private readonly select: Statement;
  private readonly selectNewest: Statement;

  constructor(
    { reader }: Store,
    private readonly policies: PolicySource,
    private readonly declarations: Declarations,
  ) {
    // Asked ahead of every call of an SDK: one look-up.
    this.select = reader.prepare(
      `SELECT (${newest}) AS policy, agents.status AS status, declarations.rule AS rule, declarations.trusted AS trusted
       FROM (SELECT 1 AS one) AS asked LEFT JOIN agents ON agents.name = ?
         LEFT JOIN declarations ON declarations.agent = ? AND declarations.action IN (?, ?)`,
    );
    this.selectNewest = reader.prepare(newest);
  }

  /** Null where no rule matches and no default is stated. A killed agent may do nothing. */
  async of(agent: string, sent: string): Promise<RuleType | null> {
    if (actionProblem(sent) !== null) return "BLOCK";
    const call = sdkCall(sent);
    const rows = (await this.select.all(agent, agent, ...spellings(call.action))) as RuleRow[];
    const [first] = rows;
    if (first === undefined || first.status === "KILLED") return "BLOCK";
    const declared: Declared[] = [];
    for (const { rule, trusted } of rows) if (rule !== null) declared.push({ rule, trusted: trusted === 1 });
    const policies = await this.policies.committed(first.policy);
    const { decision, stated } = foretold(policies, declared, { agent, ...call });
    // A call of an agent that nobody knows could not be stopped: a person is asked.
    if (!stated || (decision === "ALLOW" && first.status === null)) return null;
    return decision;
  }

  /**
   * Everything that is said about an agent, by name. Of an action, what would be decided; of a pattern, what its rule
   * says. A declaration that changes nothing is left out.
   */
  async all(agent: string): Promise<ActionRule[]> {
    const { value } = (await this.selectNewest.get()) as { value: number };
    const policies = await this.policies.committed(value);
    const declared = await this.declarations.list(agent);
    const found = new Map<string, RuleType>(patternsOf(policies, agent));
    for (const action of actionsOf(policies, agent, declared)) {
      const call = sdkCall(action);
      const said = declared.filter((one) => sdkCall(one.action).action === call.action);
      const { decision, stated } = foretold(policies, said, { agent, ...call });
      if (stated) found.set(action, decision);
    }
    return [...found]
      .map(([action, rule]) => ({ action, rule }))
      .toSorted((one, other) => (one.action < other.action ? -1 : 1));
  }
}

/**
 * What depends on arguments, or on what was called before, is not known before the call: a person is asked, and it is
 * decided with them. Whoever is told ALLOW runs its function and asks nobody any more.
 */
function foretold(
  policies: PolicySet,
  declared: readonly Declared[],
  question: Question,
): Pick<DeclaredDecision, "decision" | "stated"> {
  const asked = { ...question, now: Date.now(), counts: uncounted() };
  const { decision, stated, error } = decideDeclared(policies, declared, asked);
  const open = error === true || (decision === "ALLOW" && dependsOnMore(policies, question));
  return { decision: open ? "REVIEW" : decision, stated };
}

/** A condition can speak of arguments and of counts by these names alone. */
const more = /\b(?:args|calls)\b/;

/** Whether something beside the names of the call decides it: a limit, hosts, data, or a condition on such. */
function dependsOnMore(policies: PolicySet, question: Question): boolean {
  const { rules, limits, hosts, data } = candidatesOf(rulesFor(policies, question.agent), question);
  if (limits.length + hosts.length + data.length > 0) return true;
  return rules.some(({ rule }) => rule.when !== undefined && more.test(rule.when));
}

/** Of two lists with the same pattern the stronger counts. */
function patternsOf(policies: PolicySet, agent: string): Array<[string, RuleType]> {
  return rulesFor(policies, agent)
    .rules.filter(({ exact }) => !exact)
    .toReversed()
    .map(({ rule }) => [rule.pattern, ruleTypes[rule.list]]);
}

/** As an SDK calls them. */
function actionsOf(
  policies: PolicySet,
  agent: string,
  declared: ReadonlyArray<{ readonly action: string }>,
): Set<string> {
  const written = rulesFor(policies, agent).rules.flatMap(({ rule }) =>
    isExact(rule.pattern) ? [spellings(rule.pattern)[1]] : [],
  );
  return new Set([...written, ...declared.map(({ action }) => spellings(sdkCall(action).action)[1])]);
}
