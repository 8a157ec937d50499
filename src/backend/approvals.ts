import type { Approval, ApprovalFilter, ApprovalStatus, Intent, Principal } from "../client/backend.js";
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
import type { Statement, Store } from "./store/store.js";
import type { Safe } from "./store-key.js";

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
  private readonly selectCommitted: Statement;
  private readonly selectAll: Statement;
  private readonly selectStatus: Statement;
  private readonly selectAnyDue: Statement;
  private readonly select: Statement;
  private readonly selectFree: Statement;
  private readonly selectDue: Statement;
  private readonly selectOpenOf: Statement;
  private readonly selectLatest: Statement;
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

  constructor(
    { reader, writer }: Store,
    private readonly safe: Safe,
  ) {
    this.selectCommitted = reader.prepare("SELECT * FROM approvals WHERE id = ?");
    this.selectAll = reader.prepare("SELECT * FROM approvals WHERE id < ? ORDER BY id DESC LIMIT ?");
    this.selectStatus = reader.prepare(
      "SELECT * FROM approvals WHERE status = ? AND id < ? ORDER BY id DESC LIMIT ?",
    );
    this.selectAnyDue = reader.prepare(`SELECT id FROM approvals WHERE ${OPEN} AND expires_at <= ? LIMIT 1`);
    this.select = writer.prepare("SELECT * FROM approvals WHERE id = ?");
    this.selectFree = writer.prepare(
      `SELECT * FROM approvals WHERE digest = ? AND agent = ? AND principal = ? AND ${OPEN} AND waiter_call IS NULL
       ORDER BY CASE status WHEN 'approved' THEN 0 ELSE 1 END, id`,
    );
    this.selectDue = writer.prepare(`SELECT * FROM approvals WHERE ${OPEN} AND expires_at <= ?`);
    this.selectOpenOf = writer.prepare(`SELECT * FROM approvals WHERE agent = ? AND ${OPEN} ORDER BY id`);
    this.selectLatest = reader.prepare(
      `SELECT * FROM approvals WHERE agent = ? AND action = ? AND status IN ('pending', 'approved', 'denied', 'consumed')
       ORDER BY id DESC LIMIT 1`,
    );
    this.insert = writer.prepare(
      `INSERT INTO approvals (id, agent, principal, server, tool, action, definition, arguments, redacted, status, rule,
         reason, digest, created_at, expires_at, waiter_gateway, waiter_call)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
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

  /** For people, with the exact arguments while it is open. @param live ids of the gateways that are alive */
  describe(row: ApprovalRow, live: ReadonlySet<string>): Approval {
    const shown = isOpen(row) ? this.safe.open(row.arguments, String(row.id)) : row.arguments;
    return approvalOf({ ...row, arguments: shown }, live);
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
    const { status, before = Number.MAX_SAFE_INTEGER, limit = Number.MAX_SAFE_INTEGER } = filter;
    const rows = await (status === undefined
      ? this.selectAll.all(before, limit)
      : this.selectStatus.all(status, before, limit));
    return (rows as ApprovalRow[]).toReversed().map((row) => this.describe(row, live));
  }

  /** Committed: the newest one of an action that is open or was decided; null where there is none. */
  async latest(agent: string, action: string): Promise<Approval | null> {
    const row = (await this.selectLatest.get(agent, action)) as ApprovalRow | undefined;
    // Nobody waits on one that is found by its action.
    return row === undefined ? null : this.describe(row, new Set());
  }

  /** The approval that this call has used. */
  async consumedBy(call: string): Promise<ApprovalRow | undefined> {
    return (await this.selectConsumed.get(call)) as ApprovalRow | undefined;
  }

  /**
   * Attaches to an open approval of the same call that nobody waits on (`policy.md`, “A repeat”), one that was already
   * approved first; else opens one. A call that is identical to one that waits gets its own.
   */
  async ask(batch: Batch, question: Question): Promise<ApprovalRow> {
    const { intent, digest } = question;
    const live = await batch.liveGateways();
    const waiter = live.has(intent.gateway)
      ? ([intent.gateway, intent.call] as const)
      : ([null, null] as const);
    const free = (await this.selectFree.all(digest, intent.agent, intent.principal)) as ApprovalRow[];
    for (const row of free) {
      if (await this.expireIfDue(batch, row)) continue;
      return (await this.setWaiter.get(...waiter, row.id)) as ApprovalRow;
    }
    return this.open(batch, question, waiter);
  }

  /** Opens one, whatever others of the same call there are. */
  async open(
    batch: Batch,
    { intent, digest, redacted, rule, reason, expires }: Question,
    waiter: readonly [gateway: string, call: string] | readonly [null, null] = [null, null],
  ): Promise<ApprovalRow> {
    const { agent, principal, server, tool, action, definition } = intent;
    const id = await batch.nextId("approvals");
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
    )) as ApprovalRow;
    this.deadlines.set(opened.id, { at: performance.now() + expires, opened: batch.now });
    await batch.emit({ kind: "approval", id: opened.id, status: "pending" });
    return opened;
  }

  async detach(id: number, call: string): Promise<void> {
    await this.clearWaiter.run(id, call);
  }

  /**
   * One compare-and-set. Returns the error instead of throwing it: an expiry that was noticed here is to be committed.
   */
  async decide(
    batch: Batch,
    id: number,
    verdict: "approved" | "denied",
    by: Principal,
    reason: string,
  ): Promise<ApprovalRow | AegisError> {
    const row = await this.get(id);
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
    if (await this.expireIfDue(batch, row)) return settledError({ ...row, status: "expired" });
    const said = redactText(reason);
    const decided = await this.setDecided.get(verdict, batch.now, by.name, by.token, said, id);
    if (decided === undefined) return settledError(row);
    await this.changed(batch, row, verdict, by.name, said);
    return verdict === "denied" ? await this.erase(row.id) : (decided as ApprovalRow);
  }

  /** Uses an approval up, if it is approved at this moment. Whoever comes second gets null. */
  consume(batch: Batch, row: ApprovalRow, call: string): Promise<ApprovalRow | null> {
    return this.end(batch, row, "consumed", null, call);
  }

  /** It will not be used any more, whoever approves; `reason` is a sentence without its full stop. */
  async void(batch: Batch, row: ApprovalRow, reason: string): Promise<void> {
    await this.end(batch, row, "void", reason, null);
  }

  /** Every open approval of a killed agent; returns how many. */
  async voidAll(batch: Batch, agent: string, reason: string): Promise<number> {
    const rows = (await this.selectOpenOf.all(agent)) as ApprovalRow[];
    for (const row of rows) await this.void(batch, row, reason);
    return rows.length;
  }

  /** Whether the sweep has something to do; read outside of a transaction. */
  async anyDue(now: number): Promise<boolean> {
    return this.overdue().length > 0 || (await this.selectAnyDue.get(now)) !== undefined;
  }

  async expireDue(batch: Batch): Promise<void> {
    const rows = (await this.selectDue.all(batch.now)) as ApprovalRow[];
    for (const row of rows) await this.expireIfDue(batch, row);
    for (const id of this.overdue()) {
      const row = await this.get(id);
      if (row === undefined || !(await this.expireIfDue(batch, row))) this.deadlines.delete(id);
    }
  }

  /** Checked at every use: nothing runs after its expiry, whenever the sweep comes. */
  async expireIfDue(batch: Batch, row: ApprovalRow): Promise<boolean> {
    if (!isOpen(row)) return false;
    const deadline = this.deadlines.get(row.id);
    const overdue = deadline?.opened === row.created_at && performance.now() >= deadline.at;
    const due = overdue || batch.now >= row.expires_at || batch.now < row.created_at - SKEW;
    if (due) await this.end(batch, row, "expired", null, null);
    return due;
  }

  private overdue(): number[] {
    const now = performance.now();
    return [...this.deadlines].filter(([, { at }]) => at <= now).map(([id]) => id);
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
    await this.changed(batch, row, status, null, reason ?? settledText(ended));
    return ended;
  }

  private async erase(id: number): Promise<ApprovalRow> {
    return (await this.setEnded.get("denied", null, null, id, "denied")) as ApprovalRow;
  }

  private async changed(
    batch: Batch,
    row: ApprovalRow,
    status: ApprovalStatus,
    by: string | null,
    reason: string,
  ): Promise<void> {
    const { id, agent, server, tool, action, digest } = row;
    await batch.emit({ kind: "approval", id, status });
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
