import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { GatewayInfo } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import type { Batch } from "../batch.js";
import { ofResult, outcomeKey } from "../ledger/record.js";
import type { Statement, Store } from "../store/store.js";
import { isoTime } from "../time.js";

/** Milliseconds between two signs of life. */
export const heartbeat = 1_000;
/** Milliseconds without one after which a gateway counts as dead: longer than any lease. */
const DEAD = 5_000;
/** Milliseconds after which its calls are given up though its process still runs: suspended, or another's by now. */
const GONE = 60_000;
/** Calls looked at in one go. */
const PAGE = 500;
/** Gateways that are given up in one transaction of the sweep. */
const SOME = 20;
/** Live gateways of one principal. */
const MOST = 100;
/** The process id of a gateway that reached us over the network is of another machine's, whatever its name. */
export const REMOTE = "remote:";

export interface GatewayRow extends GatewayInfo {
  readonly id: string;
  readonly host: string;
  readonly lease: number;
  readonly started_at: number;
  readonly heartbeat: number;
  readonly seen: number;
  readonly mark: number;
  /** Who enlisted it over the API; null for a gateway of this machine. */
  readonly principal: string | null;
}

/** What a gateway says of itself when it joins. */
export type Joining = Omit<GatewayRow, "host" | "heartbeat" | "principal">;

interface DecidedRow {
  readonly call: string;
  readonly body: string;
}

/** The gateways that live on this store, and what is left of those that died. */
export class Gateways {
  private readonly here = hostname();
  private readonly selectAll: Readonly<Record<"reader" | "writer", Statement>>;
  private readonly selectFresh: Readonly<Record<"reader" | "writer", Statement>>;
  private readonly selectSilent: Statement;
  private readonly selectAnySilent: Statement;
  private readonly countOf: Statement;
  private readonly insert: Statement;
  private readonly beatOf: Statement;
  private readonly ownerOf: Statement;
  private readonly confirm: Statement;
  private readonly remove: Statement;
  private readonly freeWaiters: Statement;
  private readonly openCalls: Statement;
  private readonly consumedBy: Statement;

  constructor({ reader, writer }: Store) {
    const all = "SELECT * FROM gateways ORDER BY started_at, id";
    this.selectAll = { reader: reader.prepare(all), writer: writer.prepare(all) };
    const fresh = "SELECT * FROM gateways WHERE heartbeat >= ? ORDER BY started_at, id";
    this.selectFresh = { reader: reader.prepare(fresh), writer: writer.prepare(fresh) };
    this.selectSilent = writer.prepare(
      `SELECT * FROM gateways WHERE heartbeat < ? ORDER BY heartbeat LIMIT ${SOME}`,
    );
    this.selectAnySilent = reader.prepare("SELECT id FROM gateways WHERE heartbeat < ? LIMIT 1");
    this.countOf = writer.prepare(
      "SELECT count(*) AS count FROM gateways WHERE principal = ? AND heartbeat >= ?",
    );
    this.insert = writer.prepare(
      `INSERT INTO gateways (id, pid, host, label, address, lease, started_at, heartbeat, seen, mark, principal)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET heartbeat = excluded.heartbeat, mark = excluded.mark`,
    );
    this.beatOf = writer.prepare(
      "UPDATE gateways SET heartbeat = ?, mark = ? WHERE id = ? AND principal = ?",
    );
    this.ownerOf = writer.prepare("SELECT principal FROM gateways WHERE id = ?");
    this.confirm = writer.prepare("UPDATE gateways SET seen = ? WHERE id = ? AND seen < ?");
    this.remove = writer.prepare("DELETE FROM gateways WHERE id = ?");
    this.freeWaiters = writer.prepare(
      "UPDATE approvals SET waiter_gateway = NULL, waiter_call = NULL WHERE waiter_gateway = ?",
    );
    this.consumedBy = writer.prepare("SELECT 1 AS found FROM approvals WHERE consumed_call = ?");
    // The id of a gateway prefixes those of its calls: they are a range of the keys. An outcome has a key of its own.
    this.openCalls = writer.prepare(
      `SELECT key AS call, body FROM ledger AS decided
       WHERE key > ? AND key < ? AND id > ?
         AND NOT EXISTS (SELECT 1 FROM ledger WHERE key = CAST(? AS TEXT) || decided.key)
       ORDER BY key LIMIT ${PAGE}`,
    );
  }

  async all(where: "reader" | "writer"): Promise<GatewayRow[]> {
    return (await this.selectAll[where].all()) as GatewayRow[];
  }

  async alive(now: number, where: "reader" | "writer"): Promise<GatewayRow[]> {
    const rows = (await this.selectFresh[where].all(now - DEAD)) as GatewayRow[];
    return rows.filter((row) => this.isAlive(row, now, DEAD));
  }

  async live(now: number, where: "reader" | "writer"): Promise<ReadonlySet<string>> {
    return new Set((await this.alive(now, where)).map(({ id }) => id));
  }

  /** Writes the row of a gateway of this process, or its sign of life; also where somebody took it for dead in the meantime. */
  async join(now: number, joining: Joining): Promise<void> {
    await this.put(now, joining, this.here, null);
  }

  /**
   * A gateway on another machine, or one that might be.
   *
   * @throws AegisError `too_many_gateways`: every decision looks at all that live, whoever enlisted them
   */
  async enlist(now: number, joining: Joining, host: string, principal: string): Promise<void> {
    const { count } = (await this.countOf.get(principal, now - DEAD)) as { count: number };
    if (count >= MOST) {
      throw new AegisError("too_many_gateways", `${principal} has ${count} gateways that live already.`, {
        hint: `End some, or wait ${DEAD / 1_000} s for those that have died; or give others a token of their own.`,
      });
    }
    await this.put(now, joining, REMOTE + host, principal);
  }

  /** A sign of life of a gateway that was enlisted; false where this principal has none of that id. */
  async beat(now: number, id: string, mark: number, principal: string): Promise<boolean> {
    return (await this.beatOf.run(now, mark, id, principal)) > 0;
  }

  async isOf(id: string, principal: string): Promise<boolean> {
    const row = (await this.ownerOf.get(id)) as { principal: string | null } | undefined;
    return row?.principal === principal;
  }

  private async put(now: number, joining: Joining, host: string, principal: string | null): Promise<void> {
    const { id, pid, label, address, lease, started_at, seen, mark } = joining;
    const times = [lease, started_at, now, seen, mark];
    await this.insert.run(id, pid, host, label, address, ...times, principal);
  }

  /** The gateway's listeners have finished with every event up to this one. */
  async confirmed(id: string, event: number): Promise<void> {
    await this.confirm.run(event, id, event);
  }

  /** An orderly end: its calls have ended. */
  async leave(id: string): Promise<void> {
    await this.freeWaiters.run(id);
    await this.remove.run(id);
  }

  /**
   * Writes the end of every call that a gateway was killed over. What was allowed may have run: that is not known, and
   * nothing repeats it (invariant 9). What was held did not run.
   */
  async recover(batch: Batch): Promise<void> {
    for (const row of await this.all("writer"))
      if (!this.isAlive(row, batch.now, GONE)) await this.giveUpOn(batch, row);
  }

  /** The same of some whose silence alone says it; false where those were all. */
  async recoverGone(batch: Batch): Promise<boolean> {
    const rows = (await this.selectSilent.all(batch.now - GONE)) as GatewayRow[];
    for (const row of rows) await this.giveUpOn(batch, row);
    return rows.length === SOME;
  }

  /** Whether {@link recoverGone} has something to do; read outside of a transaction. */
  async anyGone(now: number): Promise<boolean> {
    return (await this.selectAnySilent.get(now - GONE)) !== undefined;
  }

  private async giveUpOn(batch: Batch, row: GatewayRow): Promise<void> {
    await this.recoverCalls(batch, row);
    await this.leave(row.id);
  }

  private async recoverCalls(batch: Batch, { id, mark }: GatewayRow): Promise<void> {
    // Printable ASCII: what begins with the gateway's id lies between it and it with a character behind the last one.
    const end = `${id}\u007f`;
    let from = id;
    for (;;) {
      const found = (await this.openCalls.all(from, end, mark, outcomeKey(""))) as DecidedRow[];
      for (const { call, body } of found) await this.giveUp(batch, call, body);
      const last = found.at(-1);
      if (last === undefined || found.length < PAGE) return;
      from = last.call;
    }
  }

  private async giveUp(batch: Batch, call: string, body: string): Promise<void> {
    const { agent, principal, server, tool, action, decision } = JSON.parse(body) as Record<string, string>;
    if (decision !== "ALLOW" && decision !== "REVIEW") return;
    // What is decided about an answer ends with that: its call has the outcome.
    if (call.endsWith(ofResult)) return;
    if (agent === undefined || principal === undefined || action === undefined) return;
    const allowed = decision === "ALLOW" || (await this.consumedBy.get(call)) !== undefined;
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
