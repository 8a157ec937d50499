import type { Decision, Verdict } from "../../client/backend.js";
import { dataRulesFor } from "../../policy/data.js";
import type { PolicyDecision } from "../../policy/policy.js";
import type { Count } from "../agents.js";
import { type ApprovalRow, waitingOf } from "../approvals/rows.js";
import type { Batch } from "../batch.js";
import type { Entry } from "../ledger/record.js";
import { recordName, redactText } from "../ledger/redact.js";
import { findingsOf } from "./judgement.js";
import type { Current } from "./prepare.js";

/** What was decided of a call. */
export interface Made {
  readonly decision: Decision;
  readonly rule: string | null;
  readonly reason: string;
  /** The call was decided before. */
  readonly release: boolean;
  /** It was counted before, too. */
  readonly renewed?: true;
  readonly approval?: ApprovalRow;
  readonly grant?: number;
}

/** Writes a decision down. Nothing is said that was not written. @param lease milliseconds */
export async function record(batch: Batch, current: Current, made: Made, lease: number): Promise<Verdict> {
  const { intent, policies } = current;
  const { decision, rule, reason, release, approval } = made;
  const { agent, call, gateway, stage } = intent;
  const id = batch.records.append(entryOf(current, made));
  const counts = stage === undefined && (!release || (approval !== undefined && made.renewed === undefined));
  if (counts) batch.count(agent, counted(decision));
  // What is decided of an answer ends with that: its call has the outcome.
  const open = stage === undefined && (decision === "REVIEW" || decision === "ALLOW");
  if (open) batch.started.set(call, { gateway, record: id });
  else batch.ended.push(call);
  const waiting = approval === undefined ? {} : { approval: waitingOf(approval) };
  const verdict = { call, decision, rule, reason, revision: policies.revision, record: id, ...waiting };
  if (decision !== "ALLOW") return verdict;
  const readAt = (await batch.agent(agent))?.readAt ?? Number.NEGATIVE_INFINITY;
  return { ...verdict, ...extent(current), leaseUntil: readAt + lease };
}

/** A call whose id cannot be used any more. */
export function recordUsed(batch: Batch, { intent, policies }: Current, why: string): Verdict {
  const { call, agent, principal } = intent;
  const reason = `Blocked: ${why}.`;
  const id = batch.records.append({ kind: "refused", agent, principal, reason });
  return { call, decision: "BLOCK", rule: null, reason, revision: policies.revision, record: id };
}

/** What exactly an ALLOW lets through, and what is looked for in the answer. */
export function extent({ asked, intent, policies }: Current): Pick<Verdict, "arguments" | "inspect"> {
  const inspect = intent.stage === "result" ? [] : dataRulesFor(policies, intent, "results");
  return {
    ...(intent.arguments === asked.arguments ? undefined : { arguments: intent.arguments }),
    ...(inspect.length === 0 ? undefined : { inspect }),
  };
}

function entryOf(current: Current, { decision, rule, reason, release, approval, grant }: Made): Entry {
  const { intent, digest, redacted, policies, said } = current;
  const { agent, principal, call, gateway, stage } = intent;
  return {
    kind: "decision",
    agent,
    principal,
    server: recordName(intent.server),
    tool: recordName(intent.tool),
    action: recordName(intent.action),
    call,
    decision,
    rule: rule === null ? null : redactText(rule),
    reason: redactText(reason),
    revision: policies.revision,
    gateway,
    ...(approval === undefined ? undefined : { approval: approval.id }),
    ...(grant === undefined ? undefined : { grant }),
    ...(digest === null ? undefined : { digest }),
    ...(redacted === null || release ? undefined : { arguments: redacted }),
    ...observed(current, said),
    ...(stage === undefined ? undefined : { stage }),
    ...(release ? { release } : undefined),
  };
}

/** What a record says beside the decision: what rules for data found, and what those in shadow would have decided. */
export function observed(
  judged: Parameters<typeof findingsOf>[0],
  { shadow }: PolicyDecision,
): Pick<Entry, "findings" | "shadow"> {
  const findings = findingsOf(judged);
  return {
    ...(findings === null ? undefined : { findings: redactText(findings) }),
    ...(shadow === undefined
      ? undefined
      : { shadow: redactText(`${shadow.decision} ${shadow.rule ?? "by default"}`) }),
  };
}

function counted(decision: Decision): Count {
  if (decision === "ALLOW") return "allowed";
  return decision === "REVIEW" ? "held" : "blocked";
}
