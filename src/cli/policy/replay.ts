import type { Backend, LedgerRecord } from "../../client/backend.js";
import type { PolicySet } from "../../policy/policy.js";
import type { Recorded, Replayed } from "../../policy/trial/replay.js";
import { visible } from "../../visible.js";
import { type CommonOptions, type Context, requireAgent, withBackend } from "../context.js";
import { type Output, styleOf } from "../output.js";
import { isRedacted } from "./exact-condition.js";
import { readPolicies } from "./read.js";

interface Options extends CommonOptions {
  readonly limit?: number;
  readonly agent?: string;
}

/** Records of one answer: what is held in memory at a time. */
const page = 1_000;

interface Totals {
  same: number;
  changed: number;
  unknown: number;
  /** Calls that limits of the candidate speak of. */
  limited: number;
  /** Decisions that no policy made: kills, calls that could not be asked about. */
  passedOver: number;
  readonly changes: Map<string, number>;
}

/** `aegis policy replay PATH`: what another policy would have decided about the recorded calls, newest first. */
export async function run(
  context: Context,
  options: Options,
  [path = ""]: readonly string[],
): Promise<number> {
  const { out } = context;
  const set = await readPolicies(path, { bareNames: true });
  const { replay } = await import("../../policy/trial/replay.js");
  const totals: Totals = { same: 0, changed: 0, unknown: 0, limited: 0, passedOver: 0, changes: new Map() };
  await withBackend(context, options, async ({ backend }) => {
    if (options.agent !== undefined) await requireAgent(backend, options.agent);
    for await (const record of decisions(backend, options)) {
      const asked = questionOf(record);
      if (asked === null) totals.passedOver++;
      else tell(out, record, compared(record, replay(set, asked)), totals);
    }
  });
  summarize(out, set, totals);
  return 0;
}

/** First decisions about calls, newest first: a release or a renewed lease asks again about the same call. */
async function* decisions(backend: Backend, { agent, limit }: Options): AsyncGenerator<LedgerRecord> {
  let left = limit ?? Number.POSITIVE_INFINITY;
  let before: number | undefined;
  while (left > 0) {
    const filter = {
      kinds: ["decision"],
      limit: page,
      ...(agent === undefined ? {} : { agent }),
      ...(before === undefined ? {} : { before }),
    };
    const records = await backend.records(filter);
    for (const record of records.toReversed()) {
      if (record.release === true || record.stage === "result") continue;
      yield record;
      if (--left === 0) return;
    }
    const [oldest] = records;
    if (oldest === undefined || records.length < page) return;
    before = oldest.id;
  }
}

function questionOf(record: LedgerRecord): Recorded | null {
  const { agent, action, at, decision, findings } = record;
  const { server, tool, arguments: args, digest } = record;
  if (typeof agent !== "string" || typeof action !== "string") return null;
  if (typeof server !== "string" || typeof tool !== "string") return null;
  // No digest: nobody could read the arguments, whatever a policy says.
  if (decision === "KILLED" || typeof digest !== "string") return null;
  // A rule for data had its say first: the ledger has what it left.
  const redactedByRule = typeof findings === "string" && findings.includes("in arguments: redacted");
  return {
    agent,
    action,
    server,
    tool,
    arguments: typeof args === "string" ? args : "",
    isRedacted: (text) => isRedacted(text) || (redactedByRule && /\[[^\]]+\]/.test(text)),
    at: Date.parse(at),
  };
}

interface Compared {
  readonly was: string;
  readonly now: string;
  readonly rule: string | null;
  readonly why: string | null;
  readonly limited: boolean;
}

function compared({ decision, rule, reason, grant }: LedgerRecord, replayed: Replayed): Compared {
  // What a grant let through, policy had left to a person.
  const was = typeof grant === "number" && decision === "ALLOW" ? "REVIEW" : String(decision);
  const unknown = (why: string): Compared => ({ was, now: "unknown", rule: null, why, limited: false });
  if ("unknown" in replayed) return unknown(replayed.unknown);
  const { decision: said, limits } = replayed;
  const now = said.decision;
  if (limits && / limits /.test(rule ?? "") && now !== "BLOCK")
    return unknown("a limit decided, and calls are not counted here");
  if (now === "ALLOW" && /aegis tools accept/.test(reason ?? ""))
    return unknown("nobody had accepted the tool as it was");
  return { was, now, rule: said.rule, why: null, limited: limits };
}

function tell(
  out: Output,
  record: LedgerRecord,
  { was, now, rule, why, limited }: Compared,
  totals: Totals,
): void {
  if (limited) totals.limited++;
  if (was === now) {
    totals.same++;
    return;
  }
  if (now === "unknown") totals.unknown++;
  else totals.changed++;
  const step = `${was} → ${now}`;
  totals.changes.set(step, (totals.changes.get(step) ?? 0) + 1);
  const { id, at, agent, action } = record;
  if (out.json) {
    out.document({
      record: id,
      at,
      agent,
      action,
      was,
      would_be: now,
      rule,
      was_rule: record.rule ?? null,
      why,
    });
    return;
  }
  const by = why ?? `by ${rule ?? "a default"}`;
  out.line(
    `${out.style("dim", `#${id}`.padEnd(8))}${visible(String(action)).padEnd(32)} ` +
      `${was} → ${out.style(now === "unknown" ? "dim" : styleOf(now), now)}  ${visible(by)}`,
  );
}

function summarize(out: Output, set: PolicySet, totals: Totals): void {
  const { same, changed, unknown, limited, passedOver, changes } = totals;
  const counts = { same, changed, unknown, limited, passed_over: passedOver };
  if (out.json) {
    out.document({ summary: true, revision: set.revision, ...counts, changes: Object.fromEntries(changes) });
    return;
  }
  if (changed + unknown > 0) out.line();
  const total = same + changed + unknown;
  if (total === 0) {
    out.line("No recorded call is there to be asked about.");
    return;
  }
  out.line(`Of ${calls(total)}: ${same} the same, ${changed} changed, ${unknown} unknown.`);
  for (const [step, amount] of [...changes].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    out.line(`  ${String(amount).padStart(6)}  ${step}`);
  if (limited > 0) out.line(`Limits speak of ${calls(limited)} of these, and were not counted here.`);
  if (passedOver > 0)
    out.line(`Passed over: ${calls(passedOver)} that no policy decided (kills, unreadable calls).`);
  out.line(out.style("dim", "As if every tool were accepted as it is."));
}

function calls(amount: number): string {
  return `${amount} ${amount === 1 ? "call" : "calls"}`;
}
