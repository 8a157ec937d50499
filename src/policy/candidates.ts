import type { AgentRules, CompiledRule, Named } from "./compile.js";
import { callsKey } from "./condition.js";
import type { Verdict } from "./decide.js";
import type { CompiledData, CompiledHost, CompiledLimit } from "./entries.js";
import { literalServer, ofAction } from "./pattern.js";
import { type CountKey, countKey, type List, type PolicyDecision } from "./policy.js";

/** What counts for one call, whatever its arguments: everything else of the policy is not asked. */
export interface InForce {
  /** By rank. */
  readonly rules: readonly CompiledRule[];
  readonly limits: readonly CompiledLimit[];
  readonly hosts: readonly CompiledHost[];
  /** Of arguments. */
  readonly data: readonly CompiledData[];
  readonly fallback: PolicyDecision;
  readonly onChange: List;
  /** Nothing but the names of the call decides it, once its tool is accepted. */
  readonly fixed: boolean;
}

export interface Candidates extends InForce {
  readonly server: string;
  readonly tool: string;
  /** Of results. */
  readonly results: readonly CompiledData[];
  /** The same if what is in shadow counted; null where that changes nothing. */
  readonly shadow: InForce | null;
  readonly counts: readonly CountKey[];
  /** What is decided wherever it is fixed, set at the first question. */
  settled: Verdict | null;
}

/** Actions remembered for one agent, and the most rules of one that are. */
const remembered = 1_024;
const longest = 1_000;

/** What `rules` say of this action, looked up once and remembered. */
export function candidatesOf(rules: AgentRules, question: Named): Candidates {
  const known = rules.candidates.get(question.action);
  if (known !== undefined && known.tool === question.tool && known.server === question.server) return known;
  const found = collect(rules, question);
  if (rules.candidates.size >= remembered) rules.candidates.clear();
  if (found.rules.length <= longest) rules.candidates.set(question.action, found);
  return found;
}

function collect(rules: AgentRules, question: Named): Candidates {
  const all = indexOf(rules).matching(question);
  const limits = rules.limits.filter(({ matches }) => matches(question));
  const hosts = rules.hosts.filter(({ matches }) => matches(question));
  const data = rules.data.filter(({ matches }) => matches(question));
  const ofArguments = data.filter(({ data: { in: places } }) => places.includes("arguments"));
  const open = <T extends { readonly shadow: boolean }>(entries: readonly T[]) =>
    entries.filter(({ shadow }) => !shadow);
  const inForce = withFixed({
    rules: all.filter(({ rule }) => rule.shadow !== true),
    limits: open(limits),
    hosts: open(hosts),
    data: open(ofArguments),
    fallback: rules.fallback,
    onChange: rules.onChange,
  });
  return {
    ...inForce,
    server: question.server,
    tool: question.tool,
    results: open(data.filter(({ data: { in: places } }) => places.includes("results"))),
    shadow: shadowOf(rules, inForce, { rules: all, limits, hosts, data: ofArguments }),
    counts: countsOf(question.action, all, limits),
    settled: null,
  };
}

function shadowOf(
  { shadow }: AgentRules,
  inForce: InForce,
  all: Pick<InForce, "rules" | "limits" | "hosts" | "data">,
): InForce | null {
  const more = (["rules", "limits", "hosts", "data"] as const).some(
    (part) => all[part].length > inForce[part].length,
  );
  const same = shadow.fallback.decision === inForce.fallback.decision && shadow.onChange === inForce.onChange;
  return more || !same ? withFixed({ ...all, ...shadow }) : null;
}

function withFixed(parts: Omit<InForce, "fixed">): InForce {
  const { rules, limits, hosts, data } = parts;
  const fixed =
    limits.length + hosts.length + data.length === 0 && rules.every(({ condition }) => condition === null);
  return { ...parts, fixed };
}

function countsOf(
  action: string,
  rules: readonly CompiledRule[],
  limits: readonly CompiledLimit[],
): readonly CountKey[] {
  const keys = new Map<string, CountKey>();
  for (const { counted, key } of limits) keys.set(counted, key);
  for (const { condition } of rules)
    for (const window of condition?.windows ?? []) {
      const key = callsKey(action, window);
      keys.set(countKey(key), key);
    }
  return [...keys.values()];
}

const indexes = new WeakMap<AgentRules, RuleIndex>();

function indexOf(rules: AgentRules): RuleIndex {
  let index = indexes.get(rules);
  if (index === undefined) {
    index = new RuleIndex(rules.considered);
    indexes.set(rules, index);
  }
  return index;
}

/** Rules by the names they can match, so that an action meets few of them. */
class RuleIndex {
  readonly #byAction = new Map<string, CompiledRule[]>();
  readonly #byTool = new Map<string, CompiledRule[]>();
  readonly #byServer = new Map<string, CompiledRule[]>();
  readonly #others: CompiledRule[] = [];

  constructor(rules: readonly CompiledRule[]) {
    for (const compiled of rules) {
      const { pattern } = compiled.rule;
      const server = literalServer(pattern);
      if (compiled.exact) add(ofAction(pattern) ? this.#byAction : this.#byTool, pattern, compiled);
      else if (server !== null) add(this.#byServer, server, compiled);
      else this.#others.push(compiled);
    }
  }

  /** By rank. */
  matching(question: Named): readonly CompiledRule[] {
    const { action, tool } = question;
    const end = action.indexOf("__");
    const wild = [...((end !== -1 && this.#byServer.get(action.slice(0, end))) || []), ...this.#others];
    return [
      ...(this.#byAction.get(action) ?? []),
      ...(this.#byTool.get(tool) ?? []),
      ...wild.filter((rule) => rule.matches(question)),
    ].toSorted((a, b) => a.rank - b.rank);
  }
}

function add(map: Map<string, CompiledRule[]>, key: string, rule: CompiledRule): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [rule]);
  else list.push(rule);
}
