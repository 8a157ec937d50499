import type {
  Approval,
  ApprovalFilter,
  ApprovalStatus,
  DecisionOptions,
  Intent,
  Principal,
} from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { noRequirement, type Requirement } from "../../requirement.js";
import type { Batch } from "../batch.js";
import type { Grants } from "../grants/grants.js";
import { redactText } from "../ledger/redact.js";
import type { Statement, Store } from "../store/store.js";
import type { Safe } from "../store-key.js";
import type { Deadlines } from "./deadlines.js";
import { killedText, recordChange } from "./ends.js";
import type { OpenApprovals } from "./open-approvals.js";
import { grantedTerms, mayAnswerInClient, mayDecide, problemOfApproval } from "./rights.js";
import {
  type ApprovalRow,
  approvalOf,
  isOpen,
  openCondition,
  requirementOf,
  settledError,
  settledText,
  unknownApproval,
} from "./rows.js";
import { type VoteRow, type Votes, votesOf } from "./votes.js";

/** Milliseconds a clock may be set back. An approval from further in the future can not be judged: it has expired. */
const SKEW = 60_000;
/** Approvals that are read in one go: each may hold as much as a call may send. */
const PAGE = 20;
/** Bytes an approval counts for beside its arguments, where a list is bounded. */
const REST = 1_024;

/** What a call asks a person. */
export interface Question {
  readonly intent: Intent;
  readonly digest: string;
  readonly redacted: string;
  readonly rule: string | null;
  readonly reason: string;
  /** Milliseconds. */
  readonly expires: number;
  readonly requirement: Requirement;
  /** The policy it is asked under. */
  readonly revision: string;
  /** Which pinning of the tool it is shown with; null where tools are not pinned. */
  readonly toolVersion: number | null;
}

/**
 * The stored questions of held calls, and every change of their state. Longer than most files: whoever changes one of the
 * steps wants to see the others, as each is a compare-and-set against them.
 */
export class Approvals {
  private readonly selectCommitted: Statement;
  private readonly selectAll: Statement;
  private readonly selectStatus: Statement;
  private readonly select: Statement;
  private readonly selectFree: Statement;
  private readonly selectWaiters: Statement;
  private readonly freeWaiters: Statement;
  private readonly selectLatest: Statement;
  private readonly insert: Statement;
  private readonly setWaiter: Statement;
  private readonly clearWaiter: Statement;
  private readonly setDecided: Statement;
  private readonly setEnded: Statement;
  private readonly selectConsumed: Statement;
  constructor(
    { reader, writer }: Store,
    private readonly safe: Safe,
    private readonly counted: OpenApprovals,
    private readonly deadlines: Deadlines,
    private readonly votes: Votes,
    private readonly grants: Grants,
  ) {
    this.selectCommitted = reader.prepare("SELECT * FROM approvals WHERE id = ?");
    this.selectAll = reader.prepare("SELECT * FROM approvals WHERE id < ? ORDER BY id DESC LIMIT ?");
    this.selectStatus = reader.prepare(
      "SELECT * FROM approvals WHERE status = ? AND id < ? ORDER BY id DESC LIMIT ?",
    );
    this.select = writer.prepare("SELECT * FROM approvals WHERE id = ?");
    this.selectFree = writer.prepare(
      `SELECT * FROM approvals WHERE digest = ? AND agent = ? AND principal = ? AND ${openCondition} AND waiter_call IS NULL
         AND requirement IS NOT DISTINCT FROM CAST(? AS TEXT) AND tool_version IS NOT DISTINCT FROM CAST(? AS BIGINT)
       ORDER BY CASE status WHEN 'approved' THEN 0 ELSE 1 END, id LIMIT 1`,
    );
    this.selectWaiters = writer.prepare(
      "SELECT DISTINCT waiter_gateway AS id FROM approvals WHERE digest = ? AND waiter_gateway IS NOT NULL",
    );
    this.freeWaiters = writer.prepare(
      "UPDATE approvals SET waiter_gateway = NULL, waiter_call = NULL WHERE digest = ? AND waiter_gateway = ?",
    );
    // That a result may pass says nothing of another call.
    this.selectLatest = reader.prepare(
      `SELECT * FROM approvals WHERE agent = ? AND action = ? AND stage IS NULL
         AND status IN ('pending', 'approved', 'denied', 'consumed') ORDER BY id DESC LIMIT 1`,
    );
    this.insert = writer.prepare(
      `INSERT INTO approvals (id, agent, principal, server, tool, action, definition, arguments, redacted, status, rule,
         reason, digest, created_at, expires_at, waiter_gateway, waiter_call, size, requirement, revision, tool_version,
         stage)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
    );
    this.setWaiter = writer.prepare(
      "UPDATE approvals SET waiter_gateway = ?, waiter_call = ? WHERE id = ? RETURNING *",
    );
    this.clearWaiter = writer.prepare(
      "UPDATE approvals SET waiter_gateway = NULL, waiter_call = NULL WHERE id = ? AND waiter_call = ?",
    );
    this.setDecided = writer.prepare(
      `UPDATE approvals SET status = ?, decided_at = ?, decided_by = ?, decided_token = ?, decided_reason = ?
       WHERE id = ? AND status = 'pending' RETURNING *`,
    );
    // Every end erases the exact arguments and frees the waiter.
    this.setEnded = writer.prepare(
      `UPDATE approvals SET status = ?, arguments = redacted, waiter_gateway = NULL, waiter_call = NULL,
         consumed_call = ?, decided_reason = coalesce(CAST(? AS TEXT), decided_reason)
       WHERE id = ? AND status = ? RETURNING *`,
    );
    this.selectConsumed = writer.prepare("SELECT * FROM approvals WHERE consumed_call = ?");
  }

  /**
   * Inside the transaction that decided it: for people, with the exact arguments while it is open.
   *
   * @param live ids of the gateways that are alive
   */
  async describe(row: ApprovalRow, live: ReadonlySet<string>): Promise<Approval> {
    return this.shown(row, live, await this.votes.now(row.id));
  }

  /** The same of one that is committed. */
  async show(id: number, live: ReadonlySet<string>): Promise<Approval | undefined> {
    const row = await this.committed(id);
    return row && this.shown(row, live, await this.votes.of([id]));
  }

  private shown(row: ApprovalRow, live: ReadonlySet<string>, votes: readonly VoteRow[]): Approval {
    return approvalOf({ ...row, arguments: this.exact(row) }, live, votesOf(votes, row.id));
  }

  private exact(row: ApprovalRow): string {
    return isOpen(row) ? this.safe.open(row.arguments, String(row.id)) : row.arguments;
  }

  /** Inside a transaction. */
  async get(id: number): Promise<ApprovalRow | undefined> {
    return Number.isSafeInteger(id) ? ((await this.select.get(id)) as ApprovalRow | undefined) : undefined;
  }

  async committed(id: number): Promise<ApprovalRow | undefined> {
    if (!Number.isSafeInteger(id)) return undefined;
    return (await this.selectCommitted.get(id)) as ApprovalRow | undefined;
  }

  async list(filter: ApprovalFilter, live: ReadonlySet<string>): Promise<Approval[]> {
    const { status, limit = Number.MAX_SAFE_INTEGER, bytes = Number.MAX_SAFE_INTEGER } = filter;
    let { before = Number.MAX_SAFE_INTEGER } = filter;
    const found: Approval[] = [];
    let size = 0;
    while (found.length < limit) {
      const most = Math.min(PAGE, limit - found.length);
      const rows = (await (status === undefined
        ? this.selectAll.all(before, most)
        : this.selectStatus.all(status, before, most))) as ApprovalRow[];
      const votes = await this.votes.of(rows.map(({ id }) => id));
      for (const row of rows) {
        const one = this.shown(row, live, votes);
        size += Buffer.byteLength(one.arguments) + REST;
        if (size > bytes && found.length > 0) return found.toReversed();
        found.push(one);
        before = row.id;
      }
      if (rows.length < most) break;
    }
    return found.toReversed();
  }

  /** Committed: the newest one of an action that is open or was decided; null where there is none. */
  async latest(agent: string, action: string): Promise<Approval | null> {
    const row = (await this.selectLatest.get(agent, action)) as ApprovalRow | undefined;
    // Nobody waits on one that is found by its action.
    return row === undefined ? null : this.shown(row, new Set(), await this.votes.of([row.id]));
  }

  /** The approval that this call has used. */
  async consumedBy(call: string): Promise<ApprovalRow | undefined> {
    return (await this.selectConsumed.get(call)) as ApprovalRow | undefined;
  }

  /**
   * Attaches to an open approval of the same call that nobody waits on (`policy.md`, “A repeat”), one that was already
   * approved first; else opens one. A call that is identical to one that waits gets its own, and so does one that takes
   * something else by now, or whose tool was pinned anew: people were asked another question. Returns why, as a sentence,
   * where there is no room for one more.
   */
  async ask(batch: Batch, question: Question): Promise<ApprovalRow | string> {
    const { intent, digest } = question;
    const live = await batch.liveGateways();
    const waiter = live.has(intent.gateway)
      ? ([intent.gateway, intent.call] as const)
      : ([null, null] as const);
    await this.freeDead(digest, live);
    for (;;) {
      const same = [requirementText(question), question.toolVersion] as const;
      const free = await this.selectFree.get(digest, intent.agent, intent.principal, ...same);
      if (free === undefined) break;
      const row = free as ApprovalRow;
      if (await this.expireIfDue(batch, row)) continue;
      return (await this.setWaiter.get(...waiter, row.id)) as ApprovalRow;
    }
    return (await this.full(question)) ?? this.open(batch, question, waiter);
  }

  /** Why there is no room for one more approval, as a sentence, or null. Whoever opens one asks this first. */
  full(question: Pick<Question, "intent" | "redacted">): Promise<string | null> {
    return this.counted.full(question.intent.agent, sizeOf(question));
  }

  /** Nobody waits any more behind a dead gateway: a repeat of its calls may attach to their approvals. */
  private async freeDead(digest: string, live: ReadonlySet<string>): Promise<void> {
    const waiters = (await this.selectWaiters.all(digest)) as Array<{ id: string }>;
    for (const { id } of waiters) if (!live.has(id)) await this.freeWaiters.run(digest, id);
  }

  /** Opens one, whatever others of the same call there are, and whether there is room or not. */
  async open(
    batch: Batch,
    question: Question,
    waiter: readonly [gateway: string, call: string] | readonly [null, null] = [null, null],
  ): Promise<ApprovalRow> {
    const { intent, digest, redacted, rule, reason, expires } = question;
    const { agent, principal, server, tool, action, definition } = intent;
    const id = await batch.nextId("approvals");
    const size = sizeOf(question);
    const opened = (await this.insert.get(
      id,
      agent,
      principal,
      server,
      tool,
      action,
      definition,
      this.safe.seal(intent.arguments, String(id)),
      redacted,
      rule,
      redactText(reason),
      digest,
      batch.now,
      batch.now + expires,
      ...waiter,
      size,
      requirementText(question),
      question.revision,
      question.toolVersion,
      intent.stage ?? null,
    )) as ApprovalRow;
    await this.counted.opened(agent, size);
    this.deadlines.set(opened.id, expires, batch.now);
    batch.opened.push(opened.id);
    await batch.emit({ kind: "approval", id: opened.id, status: "pending" });
    return opened;
  }

  async detach(id: number, call: string): Promise<void> {
    await this.clearWaiter.run(id, call);
  }

  /**
   * One compare-and-set: a vote that is not the last it takes leaves it pending. Returns the error instead of throwing it:
   * an expiry that was noticed here is to be committed.
   */
  async decide(
    batch: Batch,
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    reason: string,
    options: DecisionOptions = {},
  ): Promise<ApprovalRow | AegisError> {
    const row = await this.get(id);
    if (row === undefined) return unknownApproval(id);
    const { channel = "cli" } = options;
    const refused = mayDecide(row, requirementOf(row), by, channel);
    if (refused !== null) return refused;
    const settled = await this.settled(batch, row);
    if (settled !== null) return settled;
    const said = redactText(reason);
    return verdict === "denied"
      ? this.deny(batch, row, by, said)
      : this.approve(batch, row, by, said, options);
  }

  /**
   * The form in the client was accepted. It is decided as the client of its agent, which is who made the call: that whoever
   * calls may not decide does not hold for this channel, since the policy lists it to have just that.
   */
  async answerInClient(batch: Batch, id: number, call: string): Promise<ApprovalRow | AegisError> {
    const row = await this.get(id);
    if (row === undefined) return unknownApproval(id);
    const refused = mayAnswerInClient(row, requirementOf(row), call, await batch.liveGateways());
    if (refused !== null) return refused;
    const settled = await this.settled(batch, row);
    if (settled !== null) return settled;
    const { agent } = row;
    const by: Principal = { name: `client:${agent}`, role: "agent", agent, groups: [], token: null };
    return this.approve(batch, row, by, "accepted in the client", { channel: "client" });
  }

  /** Why nobody can decide it any more; null where it is pending. What was noticed here is to be committed. */
  private async settled(batch: Batch, row: ApprovalRow): Promise<AegisError | null> {
    if (await this.expireIfDue(batch, row)) return settledError({ ...row, status: "expired" });
    const killed = await killedText(batch, row.agent);
    if (killed !== null && isOpen(row)) {
      return settledError((await this.end(batch, row, "void", killed, null)) ?? row);
    }
    return row.status === "pending" ? null : settledError(row);
  }

  /** Whoever may decide ends it alone, whatever the quorum. */
  private async deny(
    batch: Batch,
    row: ApprovalRow,
    by: Principal,
    said: string,
  ): Promise<ApprovalRow | AegisError> {
    const decided = await this.setDecided.get("denied", batch.now, by.name, by.token, said, row.id);
    if (decided === undefined) return settledError(row);
    await this.changed(batch, row, "denied", by.name, said);
    return this.erase(row);
  }

  private async approve(
    batch: Batch,
    row: ApprovalRow,
    by: Principal,
    said: string,
    { channel = "cli", grant }: DecisionOptions,
  ): Promise<ApprovalRow | AegisError> {
    const requirement = requirementOf(row);
    const problem = problemOfApproval(row, requirement, said, channel);
    if (problem !== null) return problem;
    const terms = grant === undefined ? null : grantedTerms(row, requirement, grant);
    if (terms instanceof AegisError) return terms;
    // Before anything is written: an error that is returned does not undo what was.
    const uncovered =
      terms === null ? null : this.grants.problem({ ...row, arguments: this.exact(row) }, requirement);
    if (uncovered !== null) return uncovered;
    const votes = await this.votes.cast(batch, row.id, by, said, terms);
    if (votes instanceof AegisError) return votes;
    if (votes.length < requirement.quorum) {
      recordChange(batch, row, "vote", by.name, said);
      return row;
    }
    const names = votes.map(({ voter }) => voter).join(", ");
    const why = votes.length === 1 ? said : redactText(votes.map(saidBy).join("; "));
    const decided = await this.setDecided.get("approved", batch.now, names, by.token, why, row.id);
    if (decided === undefined) return settledError(row);
    await this.changed(batch, row, "approved", by.name, why);
    await this.giveGrant(batch, row, requirement, votes, { names, token: by.token });
    return decided as ApprovalRow;
  }

  /** What all of them would grant: a quorum that is asked for one call is asked for those that follow it too. */
  private async giveGrant(
    batch: Batch,
    row: ApprovalRow,
    { grant: offer }: Requirement,
    votes: readonly VoteRow[],
    by: { readonly names: string; readonly token: number | null },
  ): Promise<void> {
    const asked = votes.map(
      ({ grant_uses, grant_expires }) => [grant_uses ?? 0, grant_expires ?? 0] as const,
    );
    const uses = Math.min(...asked.map(([each]) => each));
    const expires = Math.min(...asked.map(([, each]) => each));
    if (offer === null || uses === 0) return;
    const exact = { ...row, arguments: this.exact(row) };
    await this.grants.give(batch, exact, { uses, expires, arguments: offer.arguments }, by);
  }

  /**
   * Why what was approved does not count any more: a token was revoked, and without its vote there are too few. A clause,
   * such as {@link void} takes; null where it counts. Inside a transaction, and of one that is approved or consumed.
   */
  standing(_batch: Batch, row: ApprovalRow): Promise<string | null> {
    return this.votes.standing(row);
  }

  /** Uses an approval up, if it is approved at this moment. Whoever comes second gets null. */
  consume(batch: Batch, row: ApprovalRow, call: string): Promise<ApprovalRow | null> {
    return this.end(batch, row, "consumed", null, call);
  }

  /** It will not be used any more, whoever approves; `reason` is a sentence without its full stop. */
  async void(batch: Batch, row: ApprovalRow, reason: string): Promise<void> {
    await this.end(batch, row, "void", reason, null);
  }

  /** Checked at every use: nothing runs after its expiry, whenever the sweep comes. */
  async expireIfDue(batch: Batch, row: ApprovalRow): Promise<boolean> {
    if (!isOpen(row)) return false;
    const due =
      this.deadlines.isOver(row) || batch.now >= row.expires_at || batch.now < row.created_at - SKEW;
    if (due) await this.end(batch, row, "expired", null, null);
    return due;
  }

  private async end(
    batch: Batch,
    row: ApprovalRow,
    status: "consumed" | "void" | "expired",
    reason: string | null,
    call: string | null,
  ): Promise<ApprovalRow | null> {
    const values = [status, call, reason, row.id, row.status];
    const ended = (await this.setEnded.get(...values)) as ApprovalRow | undefined;
    if (ended === undefined) return null;
    await this.counted.ended(row.agent, 1, row.size);
    await this.changed(batch, row, status, null, reason ?? settledText(ended));
    return ended;
  }

  private async erase({ id, agent, size }: ApprovalRow): Promise<ApprovalRow> {
    await this.counted.ended(agent, 1, size);
    return (await this.setEnded.get("denied", null, null, id, "denied")) as ApprovalRow;
  }

  private async changed(
    batch: Batch,
    row: ApprovalRow,
    status: ApprovalStatus,
    by: string | null,
    reason: string,
  ): Promise<void> {
    await batch.emit({ kind: "approval", id: row.id, status });
    recordChange(batch, row, status, by, reason);
  }
}

/** Bytes of what is asked about. */
function sizeOf({ intent, redacted }: Pick<Question, "intent" | "redacted">): number {
  return Buffer.byteLength(intent.arguments) + Buffer.byteLength(redacted);
}

/** As it is stored: null where one approver is all it takes. */
function requirementText({ requirement }: Pick<Question, "requirement">): string | null {
  const text = JSON.stringify(requirement);
  return text === JSON.stringify(noRequirement) ? null : text;
}

function saidBy({ voter, reason }: VoteRow): string {
  return reason === "" ? voter : `${voter}: ${reason}`;
}
