import type { Agent, AgentStatus, Principal } from "../client/backend.js";
import { AegisError } from "../errors.js";
import { nearest } from "../suggest.js";
import type { Batch } from "./batch.js";
import { redactText } from "./ledger/redact.js";
import type { Connection, Statement } from "./store/driver.js";
import { isoTime } from "./time.js";

/** What a decision needs to know of an agent. */
export interface AgentState {
  readonly status: AgentStatus;
  /** Null while it is active. */
  readonly killed: { readonly by: string; readonly at: string; readonly reason: string } | null;
  /** `performance.now()` just before it was read: from here its leases count. */
  readonly readAt: number;
}

interface AgentRow {
  readonly name: string;
  readonly status: AgentStatus;
  readonly owner: string;
  readonly created_at: number;
  readonly killed_by: string | null;
  readonly killed_at: number | null;
  readonly killed_reason: string | null;
  readonly kill_event: number | null;
  readonly allowed: number;
  readonly blocked: number;
  readonly held: number;
}

export type Count = "allowed" | "blocked" | "held";
export type Counts = Record<Count, number>;

/** The agents and their kill state. */
export class Agents {
  private readonly select: Statement;
  private readonly selectAll: Statement;
  private readonly insert: Statement;
  private readonly setOwner: Statement;
  private readonly setKilled: Statement;
  private readonly setActive: Statement;
  private readonly addCounts: Statement;

  constructor(connection: Connection) {
    this.select = connection.prepare("SELECT * FROM agents WHERE name = ?");
    this.selectAll = connection.prepare("SELECT * FROM agents ORDER BY name");
    this.insert = connection.prepare(
      "INSERT INTO agents (name, status, owner, created_at) VALUES (?, 'ACTIVE', ?, ?) ON CONFLICT DO NOTHING",
    );
    this.setOwner = connection.prepare("UPDATE agents SET owner = ? WHERE name = ?");
    this.setKilled = connection.prepare(
      `UPDATE agents SET status = 'KILLED', killed_by = ?, killed_at = ?, killed_reason = ?, kill_event = ?
       WHERE name = ? AND status = 'ACTIVE'`,
    );
    this.setActive = connection.prepare(
      `UPDATE agents SET status = 'ACTIVE', killed_by = NULL, killed_at = NULL, killed_reason = NULL, kill_event = NULL
       WHERE name = ? AND status = 'KILLED'`,
    );
    this.addCounts = connection.prepare(
      "UPDATE agents SET allowed = allowed + ?, blocked = blocked + ?, held = held + ? WHERE name = ?",
    );
  }

  list(): Agent[] {
    return (this.selectAll.all() as AgentRow[]).map((row) => ({
      name: row.name,
      status: row.status,
      owner: row.owner,
      createdAt: isoTime(row.created_at),
      killed: killedOf(row),
      allowed: row.allowed,
      blocked: row.blocked,
      held: row.held,
    }));
  }

  /** Null where the agent is not known. */
  state(name: string): AgentState | null {
    const readAt = performance.now();
    const row = this.row(name);
    return row === undefined ? null : { status: row.status, killed: killedOf(row), readAt };
  }

  /** Whether `ensure` would change nothing. */
  isEnsured(name: string, owner: string): boolean {
    return this.row(name)?.owner === owner;
  }

  /** Never touches the status: a restart of a killed agent does not revive it (threat Z13). */
  ensure(batch: Batch, name: string, owner: string): void {
    if (this.insert.run(name, owner, batch.now).changes === 0) this.setOwner.run(owner, name);
    else
      batch.records.append({ kind: "agent", agent: name, reason: "The agent was seen for the first time." });
    batch.forget(name);
  }

  /** Returns the event of the kill that holds, and whether it held before. */
  kill(batch: Batch, name: string, by: Principal, reason: string): { event: number; already: boolean } {
    const row = this.known(name);
    if (row.kill_event !== null) return { event: row.kill_event, already: true };
    const said = redactText(reason);
    const event = batch.emit({ kind: "kill", agent: name });
    this.setKilled.run(by.name, batch.now, said, event, name);
    batch.records.append({ kind: "kill", agent: name, principal: by.name, reason: said });
    batch.forget(name);
    return { event, already: false };
  }

  /** Approvals that became void stay so. Returns the event; null where the agent is active, and nothing changed. */
  revive(batch: Batch, name: string, by: Principal, reason: string): number | null {
    this.known(name);
    if (this.setActive.run(name).changes === 0) return null;
    const event = batch.emit({ kind: "revive", agent: name });
    batch.records.append({ kind: "revive", agent: name, principal: by.name, reason: redactText(reason) });
    batch.forget(name);
    return event;
  }

  add(name: string, { allowed, blocked, held }: Counts): void {
    this.addCounts.run(allowed, blocked, held, name);
  }

  private row(name: string): AgentRow | undefined {
    return this.select.get(name) as AgentRow | undefined;
  }

  /** A mistyped name must not look like a kill (threat Z14). */
  private known(name: string): AgentRow {
    const row = this.row(name);
    if (row !== undefined) return row;
    const names = (this.selectAll.all() as AgentRow[]).map((agent) => agent.name);
    const meant = nearest(name, names);
    throw new AegisError("unknown_agent", `No agent "${name}" has been seen here; nothing was changed.`, {
      hint: meant === null ? "`aegis status` lists the agents." : `Did you mean "${meant}"?`,
    });
  }
}

function killedOf(row: AgentRow): AgentState["killed"] {
  if (row.status !== "KILLED") return null;
  return { by: row.killed_by ?? "", at: isoTime(row.killed_at ?? 0), reason: row.killed_reason ?? "" };
}
