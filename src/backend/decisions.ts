import type { Decision, Intent, Verdict } from "../client/backend.js";
import { reasonOf } from "../errors.js";
import { decide as decideByPolicy } from "../policy/decide.js";
import { type Declared, decideDeclared } from "../policy/declared.js";
import type { PolicySet } from "../policy/policy.js";
import type { Count } from "./agents.js";
import { type ApprovalRow, settledText, waitingOf } from "./approval-rows.js";
import type { Approvals } from "./approvals.js";
import type { Batch } from "./batch.js";
import type { Declarations } from "./declarations.js";
import type { Digester } from "./digest.js";
import { type Entry, outcomeKey } from "./ledger/record.js";
import { recordName, redactArguments, redactText } from "./ledger/redact.js";
import type { PathRedaction } from "./ledger/redact-paths.js";
import { nameProblem } from "./names.js";
import type { PolicySource } from "./policies.js";
import type { Statement, Store } from "./store/store.js";
import type { Tokens } from "./tokens.js";

export interface DecisionParts {
  readonly policies: PolicySource;
  readonly approvals: Approvals;
  readonly declarations: Declarations;
  readonly tokens: Tokens;
  readonly digester: Digester;
  /** The configured paths; the patterns come first. */
  readonly redactPaths: PathRedaction;
  /** Milliseconds an approval lives where no rule says otherwise. */
  readonly holdExpires: number;
  /** Milliseconds an ALLOW may be used by this gateway. */
  readonly lease: (gateway: string) => number;
}

interface Said {
  readonly decision: "ALLOW" | "BLOCK" | "REVIEW";
  readonly rule: string | null;
  readonly reason: string;
  readonly expires?: number;
}

/** An intent whose arguments may have been redacted already, where they were parsed. */
export type PreparedIntent = Intent & { readonly redacted?: string };

/** A call with all that can be known of it without the store. */
export interface Prepared {
  readonly intent: Intent;
  /** Null where the arguments cannot be read. */
  readonly digest: string | null;
  /** Null where the call has none. */
  readonly redacted: string | null;
  /** The policy it was asked about, and what that says of it; a BLOCK where it cannot be asked. */
  readonly policies: PolicySet;
  readonly said: Said;
}

/** Deny by construction: every way that does not end in an ALLOW of these units ends in a refusal. */
export class Decisions {
  private readonly selectKey: Statement;
  private readonly selectMoved: Statement;

  constructor(
    { writer }: Store,
    private readonly parts: DecisionParts,
  ) {
    this.selectKey = writer.prepare("SELECT id, body FROM ledger WHERE key = ?");
    this.selectMoved = writer.prepare("SELECT call FROM moved_calls WHERE call = ?");
  }

  /** Most of the work of a decision, ahead of the transaction that makes it. */
  prepare(intent: PreparedIntent, policies = this.parts.policies.known): Prepared {
    const redacted =
      intent.arguments === ""
        ? null
        : this.parts.redactPaths(intent.redacted ?? redactArguments(intent.parsed));
    let digest: string | null = null;
    let said: Said;
    try {
      digest = this.parts.digester.digest(intent);
      said = this.ask(policies, intent);
    } catch (thrown) {
      const what = digest === null ? "the arguments cannot be read" : "policy_error";
      said = { decision: "BLOCK", rule: null, reason: `Blocked: ${what} (${reasonOf(thrown)}).` };
    }
    return { intent, digest, redacted, policies, said };
  }

  /** The same as of this transaction: another policy may have been published since, and an agent declares. */
  private async current(batch: Batch, ahead: Prepared): Promise<Prepared> {
    const policies = await this.parts.policies.inForce(batch);
    const prepared = policies === ahead.policies ? ahead : this.prepare(ahead.intent, policies);
    const { intent, digest } = prepared;
    if (digest === null || !(await batch.agent(intent.agent))?.declares) return prepared;
    const declared = await this.parts.declarations.of(intent.agent, intent.action);
    return declared.length === 0 ? prepared : { ...prepared, said: this.ask(policies, intent, declared) };
  }

  /** The first decision of a call. Asked again about the same call, it says the same and writes nothing. */
  async decide(batch: Batch, ahead: Prepared): Promise<Verdict> {
    const prepared = await this.current(batch, ahead);
    if (batch.careful) {
      const before = (await this.selectKey.get(prepared.intent.call)) as
        | { id: number; body: string }
        | undefined;
      if (before !== undefined) return this.again(batch, prepared, before);
      const { call } = prepared.intent;
      if ((await this.selectMoved.get(call)) !== undefined)
        return this.used(batch, prepared, `the call ${call} was decided in a record that was rotated away`);
    }
    const { intent, digest, redacted, said } = prepared;
    const stopped = await this.stopped(batch, intent);
    if (stopped !== null) return await this.conclude(batch, prepared, { ...stopped, release: false });
    const { decision, rule, reason } = said;
    if (decision !== "REVIEW" || digest === null) {
      return await this.conclude(batch, prepared, { decision, rule, reason, release: false });
    }
    const expires = said.expires ?? this.parts.holdExpires;
    const question = { intent, digest, redacted: redacted ?? "", rule, reason, expires };
    const approval = await this.parts.approvals.ask(batch, question);
    if (typeof approval === "string") {
      const full = { decision: "BLOCK", rule, reason: `Blocked: ${approval}`, release: false } as const;
      return await this.conclude(batch, prepared, full);
    }
    return await this.conclude(batch, prepared, { decision, rule, reason, release: false, approval });
  }

  /** The release of a hold: everything is asked again, and the approval is used up (invariant 3). */
  async release(batch: Batch, ahead: Prepared, id: number): Promise<Verdict> {
    const prepared = await this.current(batch, ahead);
    const { approvals } = this.parts;
    const { intent, said } = prepared;
    const row = await approvals.get(id);
    const stopped = await this.stopped(batch, intent);
    if (stopped !== null) {
      return await this.conclude(batch, prepared, {
        ...stopped,
        release: true,
        ...(row && { approval: row }),
      });
    }
    // This very release was granted before, and its answer lost: nobody is asked twice for one call.
    if (row?.status === "consumed" && row.consumed_call === intent.call) return this.extend(batch, prepared);
    const refusal = await this.refusal(batch, prepared, id, row);
    const used =
      refusal === null && row !== undefined ? await approvals.consume(batch, row, intent.call) : null;
    if (used === null) {
      const reason = refusal ?? `Approval ${id} was used by another call.`;
      const approval = await approvals.get(id);
      return await this.conclude(batch, prepared, {
        decision: "BLOCK",
        rule: said.decision === "BLOCK" ? said.rule : null,
        reason,
        release: true,
        ...(approval && { approval }),
      });
    }
    const reason = `${settledText({ ...used, status: "approved" })}.`;
    return await this.conclude(batch, prepared, {
      decision: "ALLOW",
      rule: said.rule,
      reason,
      release: true,
      approval: used,
    });
  }

  /** A new lease for a call that was allowed before, under the state of this moment. */
  async renew(batch: Batch, ahead: Prepared): Promise<Verdict> {
    const prepared = await this.current(batch, ahead);
    const stopped = await this.stopped(batch, prepared.intent);
    if (stopped !== null) return await this.conclude(batch, prepared, { ...stopped, release: true });
    return this.extend(batch, prepared);
  }

  /** The agent may run: whether this call still may, which a decision or an approval has allowed. */
  private async extend(batch: Batch, prepared: Prepared): Promise<Verdict> {
    const { intent, digest, said } = prepared;
    const used = await this.parts.approvals.consumedBy(intent.call);
    const before = (await this.selectKey.get(intent.call)) as { body: string } | undefined;
    const first = before === undefined ? {} : (JSON.parse(before.body) as Record<string, unknown>);
    const same = digest !== null && first.digest === digest && first.principal === intent.principal;
    const allowed = same && (first.decision === "ALLOW" || used?.digest === digest);
    const refusal = allowed
      ? await this.withdrawn(batch, prepared, used)
      : "No decision has allowed this call before.";
    return await this.conclude(batch, prepared, {
      decision: refusal === null ? "ALLOW" : "BLOCK",
      rule: said.rule,
      reason: refusal ?? "Lease renewed.",
      release: true,
      renewed: true,
      ...(used && allowed ? { approval: used } : {}),
    });
  }

  /** Why a call that was allowed may not run any more, or null where it may. */
  private async withdrawn(
    batch: Batch,
    { intent: { call }, said }: Prepared,
    used: ApprovalRow | undefined,
  ): Promise<string | null> {
    const ended = outcomeKey(call);
    if (batch.records.queued(ended) !== undefined || (await this.selectKey.get(ended)) !== undefined)
      return "The call has ended already, and what allowed it counts once.";
    if (used !== undefined && !(await this.parts.tokens.stands(used.decided_token)))
      return `Approval ${used.id} does not count any more: the token that approved it was revoked.`;
    if (said.decision === "ALLOW" || (said.decision === "REVIEW" && used !== undefined)) return null;
    const more = said.decision === "REVIEW" ? " Repeat the call to ask for approval." : "";
    return said.reason + more;
  }

  private ask(policies: PolicySet, intent: Intent, declared: readonly Declared[] = []): Said {
    for (const [what, name] of [
      ["server", intent.server] as const,
      ["tool", intent.tool],
      ["action", intent.action],
    ]) {
      const problem = nameProblem(name);
      if (problem !== null) {
        return { decision: "BLOCK", rule: null, reason: `Blocked: the name of the ${what} ${problem}.` };
      }
    }
    const said =
      declared.length === 0 ? decideByPolicy(policies, intent) : decideDeclared(policies, declared, intent);
    if (said.decision === "ALLOW" || said.decision === "BLOCK" || said.decision === "REVIEW") return said;
    throw new Error("the policy gave an unknown verdict");
  }

  /** Why the agent may run nothing at all, or null. */
  private async stopped(
    batch: Batch,
    { agent }: Intent,
  ): Promise<{ decision: Decision; rule: null; reason: string } | null> {
    const state = await batch.agent(agent);
    if (state === null) {
      return {
        decision: "BLOCK",
        rule: null,
        reason: `Blocked: the agent ${agent} is not known to this backend.`,
      };
    }
    if (state.status === "ACTIVE") return null;
    const { by, at, reason } = state.killed ?? { by: "somebody", at: "an unknown time", reason: "" };
    const why = reason === "" ? "" : `: ${reason}`;
    return {
      decision: "KILLED",
      rule: null,
      reason: `The agent ${agent} was stopped by ${by} at ${at}${why}.`,
    };
  }

  /** Why an approval does not let this call run, or null where it does. Ends it where it can never be used. */
  private async refusal(
    batch: Batch,
    prepared: Prepared,
    id: number,
    row: ApprovalRow | undefined,
  ): Promise<string | null> {
    const { approvals, tokens, digester } = this.parts;
    const { intent, digest, said } = prepared;
    if (row === undefined) return `There is no approval ${id}.`;
    const foreign = `Approval ${id} was given for another call.`;
    if (digest === null || row.agent !== intent.agent || row.principal !== intent.principal) return foreign;
    if (row.status !== "approved") return `${settledText(row)}; this call was not run.`;
    if (await approvals.expireIfDue(batch, row))
      return `${settledText({ ...row, status: "expired" })}; this call was not run.`;
    if (row.digest !== digest) {
      const redefined = digester.digest({ ...intent, definition: row.definition }) === row.digest;
      if (redefined) await approvals.void(batch, row, "the tool's definition changed after it was shown");
      return redefined
        ? `Approval ${id} is void: the tool's definition changed after it was shown.`
        : foreign;
    }
    if (row.waiter_call !== null && row.waiter_call !== intent.call)
      return `Another call waits on approval ${id}.`;
    if (!(await tokens.stands(row.decided_token))) {
      await approvals.void(batch, row, "the token that approved it was revoked");
      return `Approval ${id} is void: the token that approved it was revoked.`;
    }
    if (said.decision !== "BLOCK") return null;
    await approvals.void(batch, row, "the policy blocks the call now");
    return `${said.reason} Approval ${id} is void.`;
  }

  /** Writes the decision down. Nothing is said that was not written. */
  private async conclude(
    batch: Batch,
    { intent, digest, redacted, policies }: Prepared,
    made: {
      readonly decision: Decision;
      readonly rule: string | null;
      readonly reason: string;
      readonly release: boolean;
      /** It was counted before. */
      readonly renewed?: true;
      readonly approval?: ApprovalRow;
    },
  ): Promise<Verdict> {
    const { decision, rule, reason, release, renewed, approval } = made;
    const { revision } = policies;
    const { agent, principal, call, gateway } = intent;
    const entry: Entry = {
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
      revision,
      gateway,
      ...(approval === undefined ? undefined : { approval: approval.id }),
      ...(digest === null ? undefined : { digest }),
      ...(redacted === null || release ? undefined : { arguments: redacted }),
      ...(release ? { release } : undefined),
    };
    const record = batch.records.append(entry);
    const counts = !release || (approval !== undefined && renewed === undefined);
    if (counts) batch.count(agent, counted(decision));
    if (decision === "ALLOW" || decision === "REVIEW") batch.started.set(call, { gateway, record });
    else batch.ended.push(call);
    const verdict = { call, decision, rule, reason, revision, record };
    const waiting = approval === undefined ? {} : { approval: waitingOf(approval) };
    if (decision !== "ALLOW") return { ...verdict, ...waiting };
    const readAt = (await batch.agent(agent))?.readAt ?? Number.NEGATIVE_INFINITY;
    return { ...verdict, ...waiting, leaseUntil: readAt + this.parts.lease(gateway) };
  }

  /** A call whose id cannot be used any more. */
  private used(batch: Batch, { intent, policies }: Prepared, why: string): Verdict {
    const { call, agent, principal } = intent;
    const reason = `Blocked: ${why}.`;
    const record = batch.records.append({ kind: "refused", agent, principal, reason });
    return { call, decision: "BLOCK", rule: null, reason, revision: policies.revision, record };
  }

  /** A decision that is asked for twice. The lease of an ALLOW is not given again: `release` renews it. */
  private async again(
    batch: Batch,
    prepared: Prepared,
    before: { id: number; body: string },
  ): Promise<Verdict> {
    const { intent, digest } = prepared;
    const { call, principal } = intent;
    const first = JSON.parse(before.body) as Record<string, unknown>;
    const same = digest !== null && first.digest === digest && first.principal === principal;
    if (!same) return this.used(batch, prepared, `the id ${call} is that of another call`);
    const id = first.approval;
    const approval = typeof id === "number" ? await this.parts.approvals.get(id) : undefined;
    const decision = first.decision as Decision;
    return {
      call,
      decision,
      rule: (first.rule ?? null) as string | null,
      reason: String(first.reason),
      revision: String(first.revision),
      record: before.id,
      ...(approval === undefined ? {} : { approval: waitingOf(approval) }),
      ...(decision === "ALLOW" ? { leaseUntil: 0 } : {}),
    };
  }
}

function counted(decision: Decision): Count {
  if (decision === "ALLOW") return "allowed";
  return decision === "REVIEW" ? "held" : "blocked";
}
