import { compilePattern } from "../../policy/pattern.js";
import type { Batch } from "../batch.js";
import type { Statement, Store } from "../store/store.js";

interface RunningRow {
  readonly call: string;
  readonly action: string;
}

/**
 * The calls that run, of agents with a limit on that: written down when they are let through, removed with their
 * outcome. What a dead gateway left counts for nothing: whether it still runs, nobody will ever say.
 */
export class RunningCalls {
  private readonly select: Statement;
  private readonly insert: Statement;
  private readonly remove: Statement;
  private readonly selectLeft: Statement;
  private readonly deleteLeft: Statement;
  /** By agent, as one transaction has read and changed them. */
  private readonly batches = new WeakMap<Batch, Map<string, Map<string, RunningRow>>>();

  constructor({ reader, writer }: Store) {
    this.select = writer.prepare("SELECT call, action, gateway FROM running_calls WHERE agent = ?");
    this.insert = writer.prepare(
      `INSERT INTO running_calls (call, agent, action, gateway, started_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
    );
    this.remove = writer.prepare("DELETE FROM running_calls WHERE call = ?");
    const left =
      "FROM running_calls WHERE NOT EXISTS (SELECT 1 FROM gateways WHERE id = running_calls.gateway)";
    this.selectLeft = reader.prepare(`SELECT call ${left} LIMIT 1`);
    this.deleteLeft = writer.prepare(`DELETE ${left}`);
  }

  /** @param but a call that is not counted */
  async count(batch: Batch, agent: string, pattern: string, but: string | null): Promise<number> {
    const test = compilePattern(pattern);
    // Without `__` a pattern speaks of the tool's own name; keys of servers have none.
    const matches = pattern.includes("__")
      ? test
      : (action: string) => test(action.slice(action.indexOf("__") + 2));
    let count = 0;
    for (const { call, action } of (await this.of(batch, agent)).values())
      if (call !== but && matches(action)) count++;
    return count;
  }

  async add(
    batch: Batch,
    {
      call,
      agent,
      action,
      gateway,
    }: { readonly call: string; readonly agent: string; readonly action: string; readonly gateway: string },
  ): Promise<void> {
    (await this.of(batch, agent)).set(call, { call, action });
    await this.insert.run(call, agent, action, gateway, batch.now);
    batch.running = true;
  }

  /** It has ended. Asks nothing of the store where no call is counted. */
  async end(batch: Batch, agent: string, call: string): Promise<void> {
    if (!batch.running) return;
    this.batches.get(batch)?.get(agent)?.delete(call);
    await this.remove.run(call);
  }

  /** Whether {@link removeLeft} has something to do; read outside of a transaction. */
  async anyLeft(): Promise<boolean> {
    return (await this.selectLeft.get()) !== undefined;
  }

  /** Removes what gateways have left that are not known any more. */
  async removeLeft(): Promise<void> {
    await this.deleteLeft.run();
  }

  private async of(batch: Batch, agent: string): Promise<Map<string, RunningRow>> {
    let agents = this.batches.get(batch);
    if (agents === undefined) {
      agents = new Map();
      this.batches.set(batch, agents);
    }
    let running = agents.get(agent);
    if (running === undefined) {
      running = await this.read(batch, agent);
      agents.set(agent, running);
    }
    return running;
  }

  private async read(batch: Batch, agent: string): Promise<Map<string, RunningRow>> {
    const running = new Map<string, RunningRow>();
    if (!batch.running) return running;
    const live = await batch.liveGateways();
    for (const row of (await this.select.all(agent)) as Array<RunningRow & { readonly gateway: string }>)
      if (live.has(row.gateway)) running.set(row.call, row);
    return running;
  }
}
