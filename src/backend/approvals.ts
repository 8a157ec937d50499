import type { Approval, ApprovalStatus, Intent, Principal } from "../client/backend.js";
import { AegisError } from "../errors.js";
import {
  type ApprovalRow,
  approvalOf,
  isOpen,
  settledError,
  settledText,
  unknownApproval,
} from "./approval-rows.js";
import type { Batch } from "./batch.js";
import { redactText } from "./ledger/redact.js";
import type { Connection, Statement } from "./store/driver.js";

/** Milliseconds a clock may be set back. An approval from further in the future can not be judged: it has expired. */
const SKEW = 60_000;
const OPEN = "status IN ('pending', 'approved')";

/** What a call asks a person. */
export interface Question {
  readonly intent: Intent;
  readonly digest: string;
  readonly redacted: string;
  readonly rule: string | null;
  readonly reason: string;
  /** Milliseconds. */
  readonly expires: number;
}

/** The stored questions of held calls, and every change of their state. */
export class Approvals {
  private readonly select: Statement;
  private readonly selectAll: Statement;
  private readonly selectStatus: Statement;
  private readonly selectFree: Statement;
  private readonly selectDue: Statement;
  private readonly selectOpenOf: Statement;
  private readonly insert: Statement;
  private readonly setWaiter: Statement;
  private readonly clearWaiter: Statement;
  private readonly setDecided: Statement;
  private readonly setEnded: Statement;
  private readonly selectConsumed: Statement;
  /**
   * `performance.now()` at which approvals opened here expire: a clock that is set back does not make them live longer.
   * With the time they were opened, since a number that was rolled back is given again.
   */
  private readonly deadlines = new Map<number, { readonly at: number; readonly opened: number }>();

  constructor(connection: Connection) {
    this.select = connection.prepare("SELECT * FROM approvals WHERE id = ?");
    this.selectAll = connection.prepare("SELECT * FROM approvals ORDER BY id");
    this.selectStatus = connection.prepare("SELECT * FROM approvals WHERE status = ? ORDER BY id");
    this.selectFree = connection.prepare(
      `SELECT * FROM approvals WHERE digest = ? AND agent = ? AND principal = ? AND ${OPEN} AND waiter_call IS NULL
       ORDER BY status = 'approved' DESC, id`,
    );
    this.selectDue = connection.prepare(`SELECT * FROM approvals WHERE ${OPEN} AND expires_at <= ?`);
    this.selectOpenOf = connection.prepare(`SELECT * FROM approvals WHERE agent = ? AND ${OPEN} ORDER BY id`);
    this.insert = connection.prepare(
      `INSERT INTO approvals (agent, principal, server, tool, action, definition, arguments, redacted, status, rule,
         reason, digest, created_at, expires_at, waiter_gateway, waiter_call)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
    );
    this.setWaiter = connection.prepare(
      "UPDATE approvals SET waiter_gateway = ?, waiter_call = ? WHERE id = ? RETURNING *",
    );
    this.clearWaiter = connection.prepare(
      "UPDATE approvals SET waiter_gateway = NULL, waiter_call = NULL WHERE id = ? AND waiter_call = ?",
    );
    this.setDecided = connection.prepare(
      `UPDATE approvals SET status = ?, decided_at = ?, decided_by = ?, decided_token = ?, decided_reason = ?
       WHERE id = ? AND status = 'pending' RETURNING *`,
    );
    // Every end erases the exact arguments and frees the waiter.
    this.setEnded = connection.prepare(
      `UPDATE approvals SET status = ?, arguments = redacted, waiter_gateway = NULL, waiter_call = NULL,
         consumed_call = ?, decided_reason = coalesce(?, decided_reason)
       WHERE id = ? AND status = ? RETURNING *`,
    );
    this.selectConsumed = connection.prepare("SELECT * FROM approvals WHERE consumed_call = ?");
  }

  get(id: number): ApprovalRow | undefined {
    return Number.isSafeInteger(id) ? (this.select.get(id) as ApprovalRow | undefined) : undefined;
  }

  list(status: ApprovalStatus | undefined, live: ReadonlySet<string>): Approval[] {
    const rows = status === undefined ? this.selectAll.all() : this.selectStatus.all(status);
    return (rows as ApprovalRow[]).map((row) => approvalOf(row, live));
  }

  /** The approval that this call has used. */
  consumedBy(call: string): ApprovalRow | undefined {
    return this.selectConsumed.get(call) as ApprovalRow | undefined;
  }

  /**
   * Attaches to an open approval of the same call that nobody waits on (`policy.md`, “A repeat”), one that was already
   * approved first; else opens one. A call that is identical to one that waits gets its own.
   */
  ask(batch: Batch, question: Question): ApprovalRow {
    const { intent, digest, redacted, rule, reason, expires } = question;
    const live = batch.liveGateways();
    const waiter = live.has(intent.gateway)
      ? ([intent.gateway, intent.call] as const)
      : ([null, null] as const);
    for (const row of this.selectFree.all(digest, intent.agent, intent.principal) as ApprovalRow[]) {
      if (this.expireIfDue(batch, row)) continue;
      return this.setWaiter.get(...waiter, row.id) as ApprovalRow;
    }
    const { agent, principal, server, tool, action, definition } = intent;
    const opened = this.insert.get(
      agent,
      principal,
      server,
      tool,
      action,
      definition,
      intent.arguments,
      redacted,
      rule,
      redactText(reason),
      digest,
      batch.now,
      batch.now + expires,
      ...waiter,
    ) as ApprovalRow;
    this.deadlines.set(opened.id, { at: performance.now() + expires, opened: batch.now });
    batch.emit({ kind: "approval", id: opened.id, status: "pending" });
    return opened;
  }

  detach(id: number, call: string): void {
    this.clearWaiter.run(id, call);
  }

  /**
   * One compare-and-set. Returns the error instead of throwing it: an expiry that was noticed here is to be committed.
   */
  decide(
    batch: Batch,
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    reason: string,
  ): ApprovalRow | AegisError {
    const row = this.get(id);
    if (row === undefined) return unknownApproval(id);
    if (by.name === row.principal || by.name === row.agent || by.agent !== null) {
      return new AegisError(
        "not_permitted",
        `${by.name} made this call and so can not decide approval ${id}.`,
        {
          hint: "Another person with the role approver or admin decides.",
        },
      );
    }
    if (this.expireIfDue(batch, row)) return settledError({ ...row, status: "expired" });
    const said = redactText(reason);
    const decided = this.setDecided.get(verdict, batch.now, by.name, by.token, said, id);
    if (decided === undefined) return settledError(row);
    this.changed(batch, row, verdict, by.name, said);
    return verdict === "denied" ? this.erase(row.id) : (decided as ApprovalRow);
  }

  /** Uses an approval up, if it is approved at this moment. Whoever comes second gets null. */
  consume(batch: Batch, row: ApprovalRow, call: string): ApprovalRow | null {
    return this.end(batch, row, "consumed", null, call);
  }

  /** It will not be used any more, whoever approves; `reason` is a sentence without its full stop. */
  void(batch: Batch, row: ApprovalRow, reason: string): void {
    this.end(batch, row, "void", reason, null);
  }

  /** Every open approval of a killed agent; returns how many. */
  voidAll(batch: Batch, agent: string, reason: string): number {
    const rows = this.selectOpenOf.all(agent) as ApprovalRow[];
    for (const row of rows) this.void(batch, row, reason);
    return rows.length;
  }

  /** Whether the sweep has something to do; read outside of a transaction. */
  anyDue(now: number): boolean {
    return this.selectDue.get(now) !== undefined || this.overdue().length > 0;
  }

  expireDue(batch: Batch): void {
    const rows = this.selectDue.all(batch.now) as ApprovalRow[];
    for (const row of rows) this.expireIfDue(batch, row);
    for (const id of this.overdue()) {
      const row = this.get(id);
      if (row === undefined || !this.expireIfDue(batch, row)) this.deadlines.delete(id);
    }
  }

  /** Checked at every use: nothing runs after its expiry, whenever the sweep comes. */
  expireIfDue(batch: Batch, row: ApprovalRow): boolean {
    if (!isOpen(row)) return false;
    const deadline = this.deadlines.get(row.id);
    const overdue = deadline?.opened === row.created_at && performance.now() >= deadline.at;
    const due = overdue || batch.now >= row.expires_at || batch.now < row.created_at - SKEW;
    if (due) this.end(batch, row, "expired", null, null);
    return due;
  }

  private overdue(): number[] {
    const now = performance.now();
    return [...this.deadlines].filter(([, { at }]) => at <= now).map(([id]) => id);
  }

  private end(
    batch: Batch,
    row: ApprovalRow,
    status: "consumed" | "void" | "expired",
    reason: string | null,
    call: string | null,
  ): ApprovalRow | null {
    const ended = this.setEnded.get(status, call, reason, row.id, row.status) as ApprovalRow | undefined;
    if (ended === undefined) return null;
    this.changed(batch, row, status, null, reason ?? settledText(ended));
    return ended;
  }

  private erase(id: number): ApprovalRow {
    return this.setEnded.get("denied", null, null, id, "denied") as ApprovalRow;
  }

  private changed(
    batch: Batch,
    row: ApprovalRow,
    status: ApprovalStatus,
    by: string | null,
    reason: string,
  ): void {
    const { id, agent, server, tool, action, digest } = row;
    batch.emit({ kind: "approval", id, status });
    batch.records.append({
      kind: "approval",
      agent,
      ...(by === null ? {} : { principal: by }),
      server,
      tool,
      action,
      decision: status,
      reason,
      approval: id,
      digest,
    });
  }
}
