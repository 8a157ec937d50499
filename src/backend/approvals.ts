import type { Approval, ApprovalFilter, ApprovalStatus, Intent, Principal } from "../client/backend.js";
import { AegisError } from "../errors.js";
import { killedText, recordChange } from "./approval-ends.js";
import {
  type ApprovalRow,
  approvalOf,
  isOpen,
  openCondition,
  settledError,
  settledText,
  unknownApproval,
} from "./approval-rows.js";
import type { Batch } from "./batch.js";
import type { Deadlines } from "./deadlines.js";
import { redactText } from "./ledger/redact.js";
import type { OpenApprovals } from "./open-approvals.js";
import type { Statement, Store } from "./store/store.js";
import type { Safe } from "./store-key.js";

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
}

/** The stored questions of held calls, and every change of their state. */
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
  ) {
    this.selectCommitted = reader.prepare("SELECT * FROM approvals WHERE id = ?");
    this.selectAll = reader.prepare("SELECT * FROM approvals WHERE id < ? ORDER BY id DESC LIMIT ?");
    this.selectStatus = reader.prepare(
      "SELECT * FROM approvals WHERE status = ? AND id < ? ORDER BY id DESC LIMIT ?",
    );
    this.select = writer.prepare("SELECT * FROM approvals WHERE id = ?");
    this.selectFree = writer.prepare(
      `SELECT * FROM approvals WHERE digest = ? AND agent = ? AND principal = ? AND ${openCondition} AND waiter_call IS NULL
       ORDER BY CASE status WHEN 'approved' THEN 0 ELSE 1 END, id LIMIT 1`,
    );
    this.selectWaiters = writer.prepare(
      "SELECT DISTINCT waiter_gateway AS id FROM approvals WHERE digest = ? AND waiter_gateway IS NOT NULL",
    );
    this.freeWaiters = writer.prepare(
      "UPDATE approvals SET waiter_gateway = NULL, waiter_call = NULL WHERE digest = ? AND waiter_gateway = ?",
    );
    this.selectLatest = reader.prepare(
      `SELECT * FROM approvals WHERE agent = ? AND action = ? AND status IN ('pending', 'approved', 'denied', 'consumed')
       ORDER BY id DESC LIMIT 1`,
    );
    this.insert = writer.prepare(
      `INSERT INTO approvals (id, agent, principal, server, tool, action, definition, arguments, redacted, status, rule,
         reason, digest, created_at, expires_at, waiter_gateway, waiter_call, size)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *`,
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
    const { status, limit = Number.MAX_SAFE_INTEGER, bytes = Number.MAX_SAFE_INTEGER } = filter;
    let { before = Number.MAX_SAFE_INTEGER } = filter;
    const found: Approval[] = [];
    let size = 0;
    while (found.length < limit) {
      const most = Math.min(PAGE, limit - found.length);
      const rows = (await (status === undefined
        ? this.selectAll.all(before, most)
        : this.selectStatus.all(status, before, most))) as ApprovalRow[];
      for (const row of rows) {
        const one = this.describe(row, live);
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
    return row === undefined ? null : this.describe(row, new Set());
  }

  /** The approval that this call has used. */
  async consumedBy(call: string): Promise<ApprovalRow | undefined> {
    return (await this.selectConsumed.get(call)) as ApprovalRow | undefined;
  }

  /**
   * Attaches to an open approval of the same call that nobody waits on (`policy.md`, “A repeat”), one that was already
   * approved first; else opens one. A call that is identical to one that waits gets its own. Returns why, as a sentence,
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
      const free = await this.selectFree.get(digest, intent.agent, intent.principal);
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
    )) as ApprovalRow;
    await this.counted.opened(agent, size);
    this.deadlines.set(opened.id, expires, batch.now);
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
    const killed = await killedText(batch, row.agent);
    if (killed !== null && isOpen(row)) {
      return settledError((await this.end(batch, row, "void", killed, null)) ?? row);
    }
    const said = redactText(reason);
    const decided = await this.setDecided.get(verdict, batch.now, by.name, by.token, said, id);
    if (decided === undefined) return settledError(row);
    await this.changed(batch, row, verdict, by.name, said);
    return verdict === "denied" ? await this.erase(row) : (decided as ApprovalRow);
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
