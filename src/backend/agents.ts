import type { Agent, AgentStatus, Lifecycle, Principal } from "../client/backend.js";
import { AegisError } from "../errors.js";
import { rulesFor } from "../policy/compile.js";
import type { PolicySet } from "../policy/policy.js";
import { nearest } from "../suggest.js";
import type { Batch } from "./batch.js";
import { redactText } from "./ledger/redact.js";
import type { Statement, Store } from "./store/store.js";
import { isoTime } from "./time.js";

/** What a decision needs to know of an agent. */
export interface AgentState {
  readonly status: AgentStatus;
  /** Null while it is active. */
  readonly killed: { readonly by: string; readonly at: string; readonly reason: string } | null;
  /** Something was declared about it (`declarations.ts`). */
  readonly declares: boolean;
  /** `performance.now()` just before it was read: from here its leases count. */
  readonly readAt: number;
}

interface AgentRow {
  readonly name: string;
  readonly status: AgentStatus;
  readonly lifecycle: Lifecycle;
  readonly owner: string;
  readonly created_at: number;
  readonly killed_by: string | null;
  readonly killed_at: number | null;
  readonly killed_reason: string | null;
  readonly kill_event: number | null;
  readonly allowed: number;
  readonly blocked: number;
  readonly held: number;
  readonly declares: number;
}

export type Count = "allowed" | "blocked" | "held";
export type Counts = Record<Count, number>;

/** The agents and their kill state. */
export class Agents {
  private readonly selectCommitted: Statement;
  private readonly selectAllCommitted: Statement;
  private readonly select: Statement;
  private readonly selectAll: Statement;
  private readonly insert: Statement;
  private readonly setOwner: Statement;
  private readonly setKilled: Statement;
  private readonly setActive: Statement;
  private readonly addCounts: Statement;
  private readonly updateLifecycle: Statement;
  private readonly updateDeclares: Statement;

  constructor({ reader, writer }: Store) {
    const one = "SELECT * FROM agents WHERE name = ?";
    const all = "SELECT * FROM agents ORDER BY name";
    this.selectCommitted = reader.prepare(one);
    this.selectAllCommitted = reader.prepare(all);
    this.select = writer.prepare(one);
    this.selectAll = writer.prepare(all);
    this.insert = writer.prepare(
      "INSERT INTO agents (name, status, owner, created_at) VALUES (?, 'ACTIVE', ?, ?) ON CONFLICT DO NOTHING",
    );
    this.setOwner = writer.prepare("UPDATE agents SET owner = ? WHERE name = ?");
    this.setKilled = writer.prepare(
      `UPDATE agents SET status = 'KILLED', killed_by = ?, killed_at = ?, killed_reason = ?, kill_event = ?
       WHERE name = ? AND status = 'ACTIVE'`,
    );
    this.setActive = writer.prepare(
      `UPDATE agents SET status = 'ACTIVE', killed_by = NULL, killed_at = NULL, killed_reason = NULL, kill_event = NULL
       WHERE name = ? AND status = 'KILLED'`,
    );
    this.addCounts = writer.prepare(
      "UPDATE agents SET allowed = allowed + ?, blocked = blocked + ?, held = held + ? WHERE name = ?",
    );
    this.updateLifecycle = writer.prepare("UPDATE agents SET lifecycle = ? WHERE name = ?");
    this.updateDeclares = writer.prepare("UPDATE agents SET declares = 1 WHERE name = ? AND declares = 0");
  }

  async list(): Promise<Agent[]> {
    return ((await this.selectAllCommitted.all()) as AgentRow[]).map(agentOf);
  }

  /** Null where the agent is not known. */
  async committed(name: string): Promise<Agent | null> {
    const row = (await this.selectCommitted.get(name)) as AgentRow | undefined;
    return row === undefined ? null : agentOf(row);
  }

  /** Null where the agent is not known. */
  async state(name: string): Promise<AgentState | null> {
    const readAt = performance.now();
    const row = await this.row(name);
    if (row === undefined) return null;
    return { status: row.status, killed: killedOf(row), declares: row.declares === 1, readAt };
  }

  /** Whether `ensure` would change nothing; asked beside a transaction. */
  async isEnsured(name: string, owner: string | null): Promise<boolean> {
    const row = (await this.selectCommitted.get(name)) as AgentRow | undefined;
    return row !== undefined && (owner === null || row.owner === owner);
  }

  /**
   * Never touches the status: a restart of a killed agent does not revive it (threat Z13).
   *
   * @param owner null where nobody says
   */
  async ensure(batch: Batch, name: string, owner: string | null): Promise<void> {
    if ((await this.insert.run(name, owner ?? "", batch.now)) > 0)
      batch.records.append({ kind: "agent", agent: name, reason: "The agent was seen for the first time." });
    else if (owner !== null) await this.own(batch, name, owner);
    batch.forget(name);
  }

  private async own(batch: Batch, name: string, owner: string): Promise<void> {
    const before = (await this.row(name))?.owner ?? "";
    if (before === owner) return;
    await this.setOwner.run(owner, name);
    const was = before === "" ? "" : `, and was ${before}`;
    const reason = redactText(`The agent's owner is ${owner}${was}.`);
    batch.records.append({ kind: "agent", agent: name, reason });
  }

  /** Makes it known where it was not: whatever asks or reports can be killed. */
  async see(batch: Batch, name: string): Promise<void> {
    if ((await batch.agent(name)) === null) await this.ensure(batch, name, null);
  }

  /** It starts anew, whatever it said of itself before. Never touches the kill (threat Z13). */
  async register(batch: Batch, name: string): Promise<void> {
    await this.updateLifecycle.run("REGISTERED", name);
    batch.forget(name);
  }

  /**
   * What the agent says of itself. Never touches the kill.
   *
   * @throws AegisError `unknown_agent`
   */
  async setLifecycle(batch: Batch, name: string, lifecycle: Lifecycle, by: Principal): Promise<void> {
    const row = await this.known(name);
    if (row.lifecycle === lifecycle) return;
    await this.updateLifecycle.run(lifecycle, name);
    const reason = `The agent is ${lifecycle}, it is said.`;
    batch.records.append({ kind: "agent", agent: name, principal: by.name, status: lifecycle, reason });
  }

  /** Something was declared about it. */
  async setDeclares(batch: Batch, name: string): Promise<void> {
    if ((await this.updateDeclares.run(name)) > 0) batch.forget(name);
  }

  /** Returns the event of the kill that holds, and whether it held before. */
  async kill(
    batch: Batch,
    name: string,
    by: Principal,
    reason: string,
  ): Promise<{ event: number; already: boolean }> {
    const row = await this.known(name);
    if (row.kill_event !== null) return { event: row.kill_event, already: true };
    const said = redactText(reason);
    const event = await batch.emit({ kind: "kill", agent: name });
    await this.setKilled.run(by.name, batch.now, said, event, name);
    batch.records.append({ kind: "kill", agent: name, principal: by.name, reason: said });
    batch.forget(name);
    return { event, already: false };
  }

  /** Approvals that became void stay so. Returns the event; null where the agent is active, and nothing changed. */
  async revive(batch: Batch, name: string, by: Principal, reason: string): Promise<number | null> {
    await this.known(name);
    if ((await this.setActive.run(name)) === 0) return null;
    const event = await batch.emit({ kind: "revive", agent: name });
    batch.records.append({ kind: "revive", agent: name, principal: by.name, reason: redactText(reason) });
    batch.forget(name);
    return event;
  }

  async add(name: string, { allowed, blocked, held }: Counts): Promise<void> {
    await this.addCounts.run(allowed, blocked, held, name);
  }

  private async row(name: string): Promise<AgentRow | undefined> {
    return (await this.select.get(name)) as AgentRow | undefined;
  }

  /** A mistyped name must not look like a kill (threat Z14). */
  private async known(name: string): Promise<AgentRow> {
    const row = await this.row(name);
    if (row !== undefined) return row;
    const names = ((await this.selectAll.all()) as AgentRow[]).map((agent) => agent.name);
    throw unknownAgent(name, nearest(name, names));
  }
}

/** The owner that an operator's file states for the agent: nothing an agent says of itself replaces it. */
export function statedOwner(policies: PolicySet, name: string): string | null {
  return rulesFor(policies, name).files.find((file) => file.owner !== null)?.owner ?? null;
}

/** @param meant the name of one that is known; null where none is near */
export function unknownAgent(name: string, meant: string | null = null): AegisError {
  return new AegisError("unknown_agent", `No agent "${name}" has been seen here; nothing was changed.`, {
    hint: meant === null ? "`aegis status` lists the agents." : `Did you mean "${meant}"?`,
  });
}

function agentOf(row: AgentRow): Agent {
  return {
    name: row.name,
    status: row.status,
    lifecycle: row.lifecycle,
    owner: row.owner,
    createdAt: isoTime(row.created_at),
    killed: killedOf(row),
    allowed: row.allowed,
    blocked: row.blocked,
    held: row.held,
  };
}

function killedOf(row: AgentRow): AgentState["killed"] {
  if (row.status !== "KILLED") return null;
  return { by: row.killed_by ?? "", at: isoTime(row.killed_at ?? 0), reason: row.killed_reason ?? "" };
}
