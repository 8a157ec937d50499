import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { GatewayInfo } from "../client/backend.js";
import type { Batch } from "./batch.js";
import { outcomeKey } from "./ledger/record.js";
import type { Connection, Statement } from "./store/driver.js";
import { isoTime } from "./time.js";

/** Milliseconds between two signs of life. */
export const heartbeat = 1_000;
/** Milliseconds without one after which a gateway counts as dead: longer than any lease. */
const DEAD = 5_000;
/** Milliseconds after which its calls are given up though its process still runs: suspended, or another's by now. */
const GONE = 60_000;

export interface GatewayRow extends GatewayInfo {
  readonly id: string;
  readonly host: string;
  readonly lease: number;
  readonly started_at: number;
  readonly heartbeat: number;
  readonly seen: number;
  readonly mark: number;
}

interface DecidedRow {
  readonly call: string;
  readonly body: string;
}

/** The gateways that live on this store, and what is left of those that died. */
export class Gateways {
  private readonly here = hostname();
  private readonly selectAll: Statement;
  private readonly upsert: Statement;
  private readonly confirm: Statement;
  private readonly remove: Statement;
  private readonly freeWaiters: Statement;
  private readonly openCalls: Statement;
  private readonly consumedBy: Statement;

  constructor(connection: Connection) {
    this.selectAll = connection.prepare("SELECT * FROM gateways ORDER BY started_at, id");
    this.upsert = connection.prepare(
      `INSERT INTO gateways (id, pid, host, label, address, lease, started_at, heartbeat, seen, mark)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat, mark = excluded.mark`,
    );
    this.confirm = connection.prepare("UPDATE gateways SET seen = ? WHERE id = ? AND seen < ?");
    this.remove = connection.prepare("DELETE FROM gateways WHERE id = ?");
    this.freeWaiters = connection.prepare(
      "UPDATE approvals SET waiter_gateway = NULL, waiter_call = NULL WHERE waiter_gateway = ?",
    );
    this.consumedBy = connection.prepare("SELECT 1 FROM approvals WHERE consumed_call = ?");
    // The id of a gateway prefixes those of its calls: they are a range of the keys. An outcome has a key of its own.
    this.openCalls = connection.prepare(
      `SELECT key AS call, body FROM ledger AS decided
       WHERE key >= ?1 AND key < ?1 || char(1114111) AND id > ?2
         AND json_extract(body, '$.decision') IN ('ALLOW', 'REVIEW')
         AND NOT EXISTS (SELECT 1 FROM ledger WHERE key = ?3 || decided.key)`,
    );
  }

  all(): GatewayRow[] {
    return this.selectAll.all() as GatewayRow[];
  }

  alive(now: number): GatewayRow[] {
    return this.all().filter((row) => this.isAlive(row, now, DEAD));
  }

  live(now: number): ReadonlySet<string> {
    return new Set(this.alive(now).map(({ id }) => id));
  }

  /** Writes a gateway's row, or its sign of life; also where somebody took it for dead in the meantime. */
  beat(now: number, row: Omit<GatewayRow, "host" | "heartbeat">): void {
    const { id, pid, label, address, lease, started_at, seen, mark } = row;
    this.upsert.run(id, pid, this.here, label, address, lease, started_at, now, seen, mark);
  }

  /** The gateway's listeners have finished with every event up to this one. */
  confirmed(id: string, event: number): void {
    this.confirm.run(event, id, event);
  }

  /** An orderly end: its calls have ended. */
  leave(id: string): void {
    this.freeWaiters.run(id);
    this.remove.run(id);
  }

  /** Nobody waits any more behind a dead gateway: a repeat of its calls may attach to their approvals. */
  freeDeadWaiters(batch: Batch): void {
    const live = batch.liveGateways();
    for (const { id } of this.all()) if (!live.has(id)) this.freeWaiters.run(id);
  }

  /**
   * Writes the end of every call that a gateway was killed over. What was allowed may have run: that is not known, and
   * nothing repeats it (invariant 9). What was held did not run.
   */
  recover(batch: Batch): void {
    for (const row of this.all()) {
      if (this.isAlive(row, batch.now, GONE)) continue;
      for (const { call, body } of this.openCalls.all(row.id, row.mark, outcomeKey("")) as DecidedRow[]) {
        const { agent, principal, server, tool, action, decision } = JSON.parse(body) as Record<
          string,
          string
        >;
        if (agent === undefined || principal === undefined || action === undefined) continue;
        const allowed = decision === "ALLOW" || this.consumedBy.get(call) !== undefined;
        batch.records.append({
          kind: "outcome",
          agent,
          principal,
          ...(server === undefined ? {} : { server }),
          ...(tool === undefined ? {} : { tool }),
          action,
          call,
          outcome: allowed ? "unknown" : "refused",
          reason: "The gateway ended before the outcome was recorded.",
        });
      }
      this.leave(row.id);
    }
  }

  private isAlive(row: GatewayRow, now: number, silence: number): boolean {
    if (row.heartbeat < now - silence) return false;
    return row.host !== this.here || isRunning(row.pid);
  }
}

/** Short, and never given twice: it begins the ids of the gateway's calls. */
export function newGatewayId(): string {
  return randomBytes(8).readBigUInt64BE().toString(36).padStart(13, "0").slice(-10);
}

export function describeGateway(
  row: GatewayRow,
): GatewayInfo & { readonly id: string; readonly startedAt: string } {
  const { id, pid, label, address, started_at } = row;
  return { id, pid, label, address, startedAt: isoTime(started_at) };
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    // EPERM: it runs, as another user.
    return thrown instanceof Error && "code" in thrown && thrown.code === "EPERM";
  }
}
