import type { Decision, Intent, Verdict } from "../../client/backend.js";
import { noRequirement } from "../../requirement.js";
import type { Approvals } from "../approvals/approvals.js";
import { settledText, waitingOf } from "../approvals/rows.js";
import type { Batch } from "../batch.js";
import type { Grants } from "../grants/grants.js";
import { outcomeKey } from "../ledger/record.js";
import type { PathRedaction } from "../ledger/redact-paths.js";
import type { PolicySource } from "../policies.js";
import type { Declarations } from "../sdk/declarations.js";
import type { Statement, Store } from "../store/store.js";
import type { ToolPins } from "../tools/tool-pins.js";
import type { CallCounts } from "./counts.js";
import type { Digester } from "./digest.js";
import { judge } from "./judgement.js";
import {
  type Current,
  noCounts,
  Preparation,
  type Prepared,
  type PreparedIntent,
  sameFacts,
} from "./prepare.js";
import { extent, type Made, record, recordUsed } from "./records.js";
import { Withdrawal } from "./withdrawal.js";

export interface DecisionParts {
  readonly policies: PolicySource;
  readonly approvals: Approvals;
  readonly grants: Grants;
  readonly tools: ToolPins;
  readonly counts: CallCounts;
  readonly declarations: Declarations;
  readonly digester: Digester;
  /** The configured paths; the patterns come first. */
  readonly redactPaths: PathRedaction;
  /** Milliseconds an approval lives where no rule says otherwise. */
  readonly holdExpires: number;
  /** Milliseconds an ALLOW may be used by this gateway. */
  readonly lease: (gateway: string) => number;
}

/** A decision that was recorded before. */
interface Earlier {
  readonly id: number;
  readonly body: string;
}

/** Deny by construction: every way that does not end in an ALLOW of these units ends in a refusal. */
export class Decisions {
  private readonly preparation: Preparation;
  private readonly withdrawal: Withdrawal;
  private readonly selectKey: Statement;
  private readonly selectMoved: Statement;

  constructor(
    store: Store,
    private readonly parts: DecisionParts,
  ) {
    this.preparation = new Preparation({ ...parts, now: () => store.now() });
    this.withdrawal = new Withdrawal(parts);
    this.selectKey = store.writer.prepare("SELECT id, body FROM ledger WHERE key = ?");
    this.selectMoved = store.writer.prepare("SELECT call FROM moved_calls WHERE call = ?");
  }

  /** Most of the work of a decision, ahead of the transaction that makes it. */
  prepare(intent: PreparedIntent): Prepared {
    return this.preparation.prepare(intent, this.parts.policies.known);
  }

  /** The first decision of a call. Asked again about the same call, it says the same and writes nothing. */
  async decide(batch: Batch, ahead: Prepared): Promise<Verdict> {
    const current = await this.current(batch, ahead);
    if (batch.careful) {
      const { call } = current.intent;
      const before = (await this.selectKey.get(call)) as Earlier | undefined;
      if (before !== undefined) return this.again(batch, current, before);
      if ((await this.selectMoved.get(call)) !== undefined)
        return recordUsed(batch, current, `the call ${call} was decided in a record that was rotated away`);
    }
    const { said, digest } = current;
    const stopped = await this.stopped(batch, current.intent);
    if (stopped !== null) return this.conclude(batch, current, { ...stopped, release: false });
    if (said.decision === "REVIEW" && digest !== null) return this.hold(batch, current, digest);
    const { decision, rule, reason } = said;
    return this.conclude(batch, current, { decision, rule, reason, release: false });
  }

  /** The release of a hold: everything is asked again, and the approval is used up (invariant 3). */
  async release(batch: Batch, ahead: Prepared, id: number): Promise<Verdict> {
    const { approvals } = this.parts;
    const { call } = ahead.asked;
    const row = await approvals.get(id);
    // This very release was granted before, and its answer lost: nobody is asked twice for one call.
    const repeated = row?.status === "consumed" && row.consumed_call === call;
    const current = await this.current(batch, ahead, repeated);
    const { intent, said } = current;
    const stopped = await this.stopped(batch, intent);
    if (stopped !== null) {
      const about = row && { approval: row };
      return this.conclude(batch, current, { ...stopped, release: true, ...about });
    }
    if (repeated) return this.extend(batch, current);
    const refusal = await this.withdrawal.ofApproval(batch, current, id, row);
    const used = refusal === null && row !== undefined ? await approvals.consume(batch, row, call) : null;
    if (used === null) {
      const approval = await approvals.get(id);
      return this.conclude(batch, current, {
        decision: "BLOCK",
        rule: said.decision === "BLOCK" ? said.rule : null,
        reason: refusal ?? `Approval ${id} was used by another call.`,
        release: true,
        ...(approval && { approval }),
      });
    }
    return this.conclude(batch, current, {
      decision: "ALLOW",
      rule: said.rule,
      reason: `${settledText({ ...used, status: "approved" })}.`,
      release: true,
      approval: used,
    });
  }

  /** A new lease for a call that was allowed before, under the state of this moment. */
  async renew(batch: Batch, ahead: Prepared): Promise<Verdict> {
    const current = await this.current(batch, ahead, true);
    const stopped = await this.stopped(batch, current.intent);
    if (stopped !== null) return this.conclude(batch, current, { ...stopped, release: true, renewed: true });
    return this.extend(batch, current);
  }

  /**
   * The call as of this transaction: another policy may have been published since it was prepared, a tool may have
   * changed, calls were let through, and an agent declares.
   *
   * @param counted it was let through before, and does not count against itself
   */
  private async current(batch: Batch, ahead: Prepared, counted = false): Promise<Current> {
    const { policies, tools, counts, declarations } = this.parts;
    const inForce = await policies.inForce(batch);
    const prepared = inForce === ahead.policies ? ahead : this.preparation.prepare(ahead.asked, inForce);
    const { intent, needs } = prepared;
    if (prepared.failed !== null) return { ...prepared, said: prepared.failed, version: null };
    const state = await batch.agent(intent.agent);
    const { facts, version } = await tools.facts(batch, intent);
    const declared = state?.declares === true ? await declarations.of(intent.agent, intent.action) : [];
    const known = { ...prepared, version: intent.stage === undefined ? version : null };
    if (
      prepared.ahead !== null &&
      declared.length === 0 &&
      needs.length === 0 &&
      sameFacts(facts, prepared.ahead.facts)
    )
      return { ...known, said: prepared.ahead.said };
    this.preparation.learn(intent, facts);
    const numbers =
      needs.length === 0
        ? noCounts
        : await counts.read(batch, intent.agent, needs, counted ? intent.call : null);
    return { ...known, said: judge(prepared, { facts, now: batch.now, counts: numbers, declared }) };
  }

  /** REVIEW: a grant lets the call through, or an approval is asked for. */
  private async hold(batch: Batch, current: Current, digest: string): Promise<Verdict> {
    const { approvals, grants, holdExpires } = this.parts;
    const { intent, redacted, policies, said, version } = current;
    const { rule, reason, expires = holdExpires, requirement = noRequirement } = said;
    const grant = await grants.use(batch, { intent, toolVersion: version, requirement });
    if (grant !== null) {
      const { id, left, by } = grant;
      const uses = left === 1 ? "1 use" : `${left} uses`;
      const allowed = `Allowed by grant ${id} (${uses} left), given by ${by}.`;
      return this.conclude(batch, current, {
        decision: "ALLOW",
        rule,
        reason: allowed,
        release: false,
        grant: id,
      });
    }
    const approval = await approvals.ask(batch, {
      intent,
      digest,
      redacted: redacted ?? "",
      rule,
      reason,
      expires,
      requirement,
      revision: policies.revision,
      toolVersion: version,
    });
    if (typeof approval === "string") {
      const full = { decision: "BLOCK", rule, reason: `Blocked: ${approval}`, release: false } as const;
      return this.conclude(batch, current, full);
    }
    return this.conclude(batch, current, { decision: "REVIEW", rule, reason, release: false, approval });
  }

  /** The agent may run: whether this call still may, which a decision, a grant or an approval has allowed. */
  private async extend(batch: Batch, current: Current): Promise<Verdict> {
    const { intent, digest, said } = current;
    const used = await this.parts.approvals.consumedBy(intent.call);
    const before = (await this.selectKey.get(intent.call)) as Earlier | undefined;
    const first = before === undefined ? {} : (JSON.parse(before.body) as Record<string, unknown>);
    const same = digest !== null && first.digest === digest && first.principal === intent.principal;
    const allowed = same && (first.decision === "ALLOW" || used?.digest === digest);
    const grant = typeof first.grant === "number" ? first.grant : null;
    const refusal = !allowed
      ? "No decision has allowed this call before."
      : (await this.hasEnded(batch, intent.call))
        ? "The call has ended already, and what allowed it counts once."
        : await this.withdrawal.ofAllowed(batch, current, used, grant);
    return this.conclude(batch, current, {
      decision: refusal === null ? "ALLOW" : "BLOCK",
      rule: said.rule,
      reason: refusal ?? "Lease renewed.",
      release: true,
      renewed: true,
      ...(used && allowed ? { approval: used } : {}),
      ...(grant !== null && allowed ? { grant } : {}),
    });
  }

  private async hasEnded(batch: Batch, call: string): Promise<boolean> {
    const ended = outcomeKey(call);
    return batch.records.queued(ended) !== undefined || (await this.selectKey.get(ended)) !== undefined;
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

  /** Writes the decision down, and counts a call that is let through by it. */
  private async conclude(batch: Batch, current: Current, made: Made): Promise<Verdict> {
    const { intent, needs } = current;
    if (made.decision === "ALLOW" && made.renewed === undefined)
      await this.parts.counts.add(batch, intent, needs);
    return record(batch, current, made, this.parts.lease(intent.gateway));
  }

  /** A decision that is asked for twice. The lease of an ALLOW is not given again: `release` renews it. */
  private async again(batch: Batch, current: Current, before: Earlier): Promise<Verdict> {
    const { intent, digest } = current;
    const { call, principal } = intent;
    const first = JSON.parse(before.body) as Record<string, unknown>;
    const same = digest !== null && first.digest === digest && first.principal === principal;
    if (!same) return recordUsed(batch, current, `the id ${call} is that of another call`);
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
      ...(decision === "ALLOW" ? { ...extent(current), leaseUntil: 0 } : {}),
    };
  }
}
