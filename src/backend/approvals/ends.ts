import type { ApprovalStatus } from "../../client/backend.js";
import type { Batch } from "../batch.js";
import type { Grants } from "../grants/grants.js";
import type { Statement, Store } from "../store/store.js";
import type { Deadlines } from "./deadlines.js";
import type { OpenApprovals } from "./open-approvals.js";
import { type EndedRow, endedColumns, expiredText, openCondition } from "./rows.js";

/** Approvals that one transaction ends: of thousands, the calls of others come in between. */
const SOME = 100;

/**
 * The ends that come to many approvals at once, and to the grants that came with them: by time, and by the kill of their
 * agent. Without reading what they ask about, which may be long.
 */
export class ApprovalEnds {
  private readonly selectAnyDue: Statement;
  private readonly selectKilled: Statement;
  private readonly voidSomeOf: Statement;
  private readonly expireSome: Statement;
  private readonly expireOne: Statement;

  constructor(
    { reader, writer }: Store,
    private readonly counted: OpenApprovals,
    private readonly deadlines: Deadlines,
    private readonly grants: Grants,
  ) {
    this.selectAnyDue = reader.prepare(
      `SELECT id FROM approvals WHERE ${openCondition} AND expires_at <= ? LIMIT 1`,
    );
    this.selectKilled = reader.prepare(
      `SELECT name FROM agents WHERE status = 'KILLED'
         AND (EXISTS (SELECT 1 FROM approvals WHERE agent = agents.name AND approvals.${openCondition})
           OR EXISTS (SELECT 1 FROM grants WHERE agent = agents.name AND grants.status = 'active')) LIMIT 1`,
    );
    const erased = "arguments = redacted, waiter_gateway = NULL, waiter_call = NULL";
    this.voidSomeOf = writer.prepare(
      `UPDATE approvals SET status = 'void', ${erased}, decided_reason = ?
       WHERE id IN (SELECT id FROM approvals WHERE agent = ? AND ${openCondition} ORDER BY id LIMIT ${SOME})
       RETURNING ${endedColumns}`,
    );
    const expire = `UPDATE approvals SET status = 'expired', ${erased} WHERE`;
    this.expireSome = writer.prepare(
      `${expire} id IN
         (SELECT id FROM approvals WHERE ${openCondition} AND expires_at <= ? ORDER BY expires_at LIMIT ${SOME})
       RETURNING ${endedColumns}`,
    );
    this.expireOne = writer.prepare(
      `${expire} id = ? AND created_at = ? AND ${openCondition} RETURNING ${endedColumns}`,
    );
  }

  /** Open approvals of an agent, inside a transaction. */
  openOf(agent: string): Promise<number> {
    return this.counted.of(agent);
  }

  /**
   * The oldest of the open approvals of a killed agent; false where those were all. While it is killed none is added, and
   * a revive waits until there is none: those from before it stay void.
   */
  async voidSome(batch: Batch, agent: string): Promise<boolean> {
    const reason = await killedText(batch, agent);
    if (reason === null) return false;
    await this.grants.voidAllOf(batch, agent, reason);
    const rows = (await this.voidSomeOf.all(reason, agent)) as EndedRow[];
    await this.tell(batch, rows, "void", () => reason);
    return rows.length === SOME;
  }

  /** A killed agent whose approvals are open still: who killed it did not come to them. Read outside of a transaction. */
  async ofKilled(): Promise<string | null> {
    const found = (await this.selectKilled.get()) as { name: string } | undefined;
    return found?.name ?? null;
  }

  /** Whether {@link expireDue} has something to do; read outside of a transaction. */
  async anyDue(now: number): Promise<boolean> {
    if (this.deadlines.over().length > 0 || (await this.selectAnyDue.get(now)) !== undefined) return true;
    return this.grants.anyDue(now);
  }

  /** Ends some of those that are due; false where those were all. */
  async expireDue(batch: Batch): Promise<boolean> {
    const rows = (await this.expireSome.all(batch.now)) as EndedRow[];
    const over = this.deadlines.over();
    for (const [id, opened] of over.slice(0, SOME)) {
      const ended = (await this.expireOne.get(id, opened)) as EndedRow | undefined;
      // Forgotten only where there is nothing to end: this transaction may be rolled back.
      if (ended === undefined) this.deadlines.forget(id);
      else rows.push(ended);
    }
    await this.tell(batch, rows, "expired", expiredText);
    const more = await this.grants.expireDue(batch);
    return more || rows.length >= SOME || over.length > SOME;
  }

  /** Tells of them, and writes that down, in the order in which they were opened. */
  private async tell(
    batch: Batch,
    rows: readonly EndedRow[],
    status: "void" | "expired",
    why: (row: EndedRow) => string,
  ): Promise<void> {
    if (rows.length === 0) return;
    const sorted = rows.toSorted((a, b) => a.id - b.id);
    const sums = new Map<string, { count: number; size: number }>();
    for (const row of sorted) {
      const sum = sums.get(row.agent) ?? { count: 0, size: 0 };
      sums.set(row.agent, { count: sum.count + 1, size: sum.size + row.size });
      recordChange(batch, row, status, null, why(row));
    }
    for (const [agent, { count, size }] of sums) await this.counted.ended(agent, count, size);
    await batch.emitAll(sorted.map(({ id }) => ({ kind: "approval" as const, id, status })));
  }
}

/**
 * Writes down what became of an approval. `vote`: one approved, and it takes more.
 *
 * @param by null where nobody did it @param reason redacted
 */
export function recordChange(
  batch: Batch,
  { id, agent, server, tool, action, digest }: EndedRow,
  status: ApprovalStatus | "vote",
  by: string | null,
  reason: string,
): void {
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

/** Why nothing of an agent is decided any more, as a sentence without its full stop; null where it was not killed. */
export async function killedText(batch: Batch, agent: string): Promise<string | null> {
  const killed = (await batch.agent(agent))?.killed ?? null;
  return killed === null ? null : `${agent} was killed by ${killed.by}`;
}
