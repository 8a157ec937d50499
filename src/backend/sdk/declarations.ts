import type { Principal } from "../../client/backend.js";
import type { Declared } from "../../policy/declared.js";
import type { Agents } from "../agents.js";
import type { Batch } from "../batch.js";
import type { Declaration, RuleType } from "../service.js";
import type { Statement, Store } from "../store/store.js";
import { sdkCall, spellings } from "./action.js";

interface DeclarationRow {
  readonly action: string;
  readonly admin: number;
  readonly rule: RuleType;
  readonly trusted: number;
  readonly fresh: number;
}

const strength = { BLOCK: 0, REVIEW: 1, ALLOW: 2 } as const;

/**
 * Policies that were declared over the API (`policy.md`, “declares”). Of one action the stricter holds of what an admin
 * declared and what the agent's own code declares: neither overwrites the other's (threat Z17).
 */
export class Declarations {
  private readonly selectOf: Statement;
  private readonly selectAll: Statement;
  private readonly select: Statement;
  private readonly upsert: Statement;
  private readonly remove: Statement;
  private readonly age: Statement;

  constructor(
    { reader, writer }: Store,
    private readonly agents: Agents,
  ) {
    this.selectOf = writer.prepare(
      "SELECT rule, trusted FROM declarations WHERE agent = ? AND action IN (?, ?)",
    );
    this.selectAll = reader.prepare(
      "SELECT action, rule, trusted FROM declarations WHERE agent = ? ORDER BY action, admin",
    );
    this.select = writer.prepare("SELECT * FROM declarations WHERE agent = ? AND action = ? AND admin = ?");
    this.upsert = writer.prepare(
      `INSERT INTO declarations (agent, action, admin, rule, trusted, fresh, declared_at, declared_by)
       VALUES (?, ?, ?, ?, ?, 1, ?, ?)
       ON CONFLICT (agent, action, admin) DO UPDATE SET rule = excluded.rule, trusted = excluded.trusted, fresh = 1,
         declared_at = excluded.declared_at, declared_by = excluded.declared_by`,
    );
    this.remove = writer.prepare("DELETE FROM declarations WHERE agent = ? AND action = ? AND admin = 0");
    this.age = writer.prepare(
      "UPDATE declarations SET fresh = 0 WHERE agent = ? AND admin = 0 AND fresh = 1",
    );
  }

  /** Inside a transaction: all that was declared about an action by its canonical name, however it was spelt. */
  async of(agent: string, action: string): Promise<Declared[]> {
    const rows = (await this.selectOf.all(agent, ...spellings(action))) as DeclarationRow[];
    return rows.map(({ rule, trusted }) => ({ rule, trusted: trusted === 1 }));
  }

  /** One for each action: the strictest of those that count, by name. */
  async list(agent: string): Promise<Declaration[]> {
    const strictest = new Map<string, Declaration>();
    for (const row of (await this.selectAll.all(agent)) as DeclarationRow[]) {
      const { action, rule } = row;
      const declaration = { agent, action, rule, trusted: row.trusted === 1 };
      const known = strictest.get(action);
      if (known === undefined || isStricter(declaration, known)) strictest.set(action, declaration);
    }
    return [...strictest.values()];
  }

  /**
   * What the agent's code says until it registers again only tightens: an action that it lists both as blocked and for
   * review stays blocked, in whatever order its SDK sends them. What an admin says replaces what was said before.
   */
  async declare(batch: Batch, declaration: Declaration, by: Principal): Promise<void> {
    const { agent, action, rule } = declaration;
    await this.agents.see(batch, agent);
    const admin = by.role === "admin" ? 1 : 0;
    const trusted = declaration.trusted ? 1 : 0;
    const before = (await this.select.get(agent, action, admin)) as DeclarationRow | undefined;
    const removed = admin === 1 ? await this.remove.run(agent, action) : 0;
    if (admin === 0 && before?.fresh === 1 && strength[before.rule] < strength[rule]) return;
    await this.upsert.run(agent, action, admin, rule, trusted, batch.now, by.name);
    await this.agents.setDeclares(batch, agent);
    // The same at every start of the agent: only what is new is news.
    if (removed === 0 && before?.rule === rule && before.trusted === trusted) return;
    const who = admin === 1 ? by.name : "The agent's own code";
    const counts = rule === "ALLOW" && trusted === 0 ? ", which is not trusted and changes nothing" : "";
    batch.records.append({
      kind: "policy",
      agent,
      principal: by.name,
      ...sdkCall(action),
      status: rule,
      reason: `${who} declares ${rule} for ${action}${counts}.`,
    });
  }

  /** The agent registers again: what its code declares from now on replaces what it declared before. */
  async renew(agent: string): Promise<void> {
    await this.age.run(agent);
  }
}

/** An ALLOW that does not count says less than one that does. */
function isStricter(one: Declaration, other: Declaration): boolean {
  if (one.rule === other.rule) return one.trusted && !other.trusted;
  return strength[one.rule] < strength[other.rule];
}
