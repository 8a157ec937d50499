import type { Grant, Intent, Principal } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import type { GrantTerms, Requirement } from "../../requirement.js";
import { Deadlines } from "../approvals/deadlines.js";
import { type ApprovalRow, requirementOf } from "../approvals/rows.js";
import type { Votes } from "../approvals/votes.js";
import type { Batch } from "../batch.js";
import type { Digester } from "../decisions/digest.js";
import type { Statement, Store } from "../store/store.js";
import { coveredPart, type Parted } from "./cover.js";
import { type GrantEnd, type GrantRow, grantOf, grantText, patternsOf, recordGrant } from "./rows.js";

/** Milliseconds a clock may be set back: a grant from further in the future can not be judged, and has expired. */
const SKEW = 60_000;
/** Grants that one transaction ends, or one look reads. */
const SOME = 100;
/** Grants of one answer: the newest. */
const LISTED = 1_000;

/** What lets a call run that no approval is asked for. */
export interface GrantUse {
  readonly id: number;
  /** Further calls it covers. */
  readonly left: number;
  /** Who gave it. */
  readonly by: string;
}

/** A call that policy would hold, as of the transaction that decides it. */
export interface GrantQuestion {
  readonly intent: Intent;
  readonly toolVersion: number | null;
  /** What policy asks of an approval for this very call at this moment. */
  readonly requirement: Requirement;
}

/**
 * Calls that an approver has let through ahead of their coming, where the policy offers that: so many, for so long, and
 * different from the approved one in nothing but the named arguments, each within its pattern (threat A21).
 */
export class Grants {
  private readonly deadlines = new Deadlines();
  private readonly insert: Statement;
  private readonly select: Statement;
  private readonly selectActive: Statement;
  private readonly selectAllActive: Statement;
  private readonly selectAll: Statement;
  private readonly selectAnyDue: Statement;
  private readonly selectDue: Statement;
  private readonly selectOf: Statement;
  private readonly selectOfToken: Statement;
  private readonly setUsed: Statement;
  private readonly setEnded: Statement;

  constructor(
    private readonly store: Store,
    private readonly digester: Digester,
    private readonly votes: Votes,
  ) {
    const { reader, writer } = store;
    this.insert = writer.prepare(
      `INSERT INTO grants (id, approval, agent, principal, server, tool, action, definition, tool_version, arguments, rest,
         requirement, uses, created_at, expires_at, given_by, given_token, status)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'active') RETURNING *`,
    );
    const active = "SELECT * FROM grants WHERE status = 'active'";
    this.select = writer.prepare("SELECT * FROM grants WHERE id = ?");
    this.selectActive = writer.prepare(`${active} AND agent = ? AND action = ? ORDER BY id`);
    this.selectAllActive = reader.prepare(`${active} ORDER BY id DESC LIMIT ${LISTED}`);
    this.selectAll = reader.prepare(`SELECT * FROM grants ORDER BY id DESC LIMIT ${LISTED}`);
    this.selectAnyDue = reader.prepare(
      "SELECT id FROM grants WHERE status = 'active' AND expires_at <= ? LIMIT 1",
    );
    this.selectDue = writer.prepare(`${active} AND expires_at <= ? ORDER BY id LIMIT ${SOME}`);
    this.selectOf = writer.prepare(`${active} AND agent = ? ORDER BY id`);
    this.selectOfToken = writer.prepare(
      `${active} AND (given_token = ? OR approval IN (SELECT approval FROM approval_votes WHERE token = ?)) ORDER BY id`,
    );
    this.setUsed = writer.prepare(
      "UPDATE grants SET used = used + 1 WHERE id = ? AND status = 'active' AND used < uses RETURNING *",
    );
    this.setEnded = writer.prepare(
      "UPDATE grants SET status = ?, ended_at = ?, ended_by = ? WHERE id = ? AND status = 'active' RETURNING *",
    );
  }

  /** Why nothing can be granted with this approval: its call itself is none of those that the offer is about. */
  problem(row: ApprovalRow, { grant: offer }: Pick<Requirement, "grant">): AegisError | null {
    if (offer !== null && coveredPart(row.arguments, offer.arguments) !== null) return null;
    return new AegisError(
      "not_permitted",
      `A grant with approval ${row.id} would not cover the call itself; nothing was changed.`,
      { hint: "Approve this one call without a grant." },
    );
  }

  /**
   * Gives what `grantedTerms` has let pass, with the decision that approves: in its transaction.
   *
   * @param row with its exact arguments
   * @param by the names of all who approved, and the token of the one who did last
   */
  async give(
    batch: Batch,
    row: ApprovalRow,
    terms: GrantTerms,
    by: { readonly names: string; readonly token: number | null },
  ): Promise<void> {
    const patterns = terms.arguments;
    const parted = coveredPart(row.arguments, patterns);
    if (parted === null) return;
    const id = await batch.nextId("grants");
    const { agent, principal, server, tool, action, definition, tool_version } = row;
    const names = [agent, principal, server, tool, action, definition, tool_version] as const;
    const given = (await this.insert.get(
      id,
      row.id,
      ...names,
      patternsText(patterns),
      this.restOf(row, patterns, parted),
      requirementText(requirementOf(row)),
      terms.uses,
      batch.now,
      batch.now + terms.expires,
      by.names,
      by.token,
    )) as GrantRow;
    this.deadlines.set(id, terms.expires, batch.now);
    recordGrant(batch, given, "given", by.names, grantText(given));
  }

  /**
   * Uses one up that covers this call, in the transaction that decides it; null where none does. A grant covers calls
   * that come after it: the one that was held is let go by its approval. Where policy asks for something else by now, or
   * offers something else, it was given under other terms and is not used.
   */
  async use(batch: Batch, { intent, toolVersion, requirement }: GrantQuestion): Promise<GrantUse | null> {
    if (requirement.grant === null) return null;
    const asked = requirementText(requirement);
    for (const row of (await this.selectActive.all(intent.agent, intent.action)) as GrantRow[]) {
      if (row.requirement !== asked || !this.covers(row, intent, toolVersion)) continue;
      if (await this.endIfOver(batch, row)) continue;
      const used = (await this.setUsed.get(row.id)) as GrantRow | undefined;
      if (used === undefined) continue;
      const left = used.uses - used.used;
      if (left === 0) await this.end(batch, used, "used", null, `All ${used.uses} calls were made.`);
      return { id: used.id, left, by: used.given_by };
    }
    return null;
  }

  /**
   * Why a call that this grant has let through may not run any more, as a sentence; null where it may.
   *
   * @param requirement what policy asks of an approval for it at this moment
   */
  async withdrawn(batch: Batch, id: number, requirement: Requirement): Promise<string | null> {
    const row = await this.get(id);
    if (row === undefined) return `There is no grant ${id}.`;
    if (row.requirement !== requirementText(requirement))
      return `Grant ${id} was given under other terms than those of the policy now.`;
    if (row.status === "active") await this.endIfOver(batch, row);
    const now = await this.get(id);
    if (now?.status === "used") return (await this.over(batch, now))?.reason ?? null;
    return now?.status === "active" ? null : `Grant ${id} does not count any more: it is ${now?.status}.`;
  }

  /** Committed; newest first. One that is over and was not ended yet is shown as it is. */
  async list(all: boolean): Promise<readonly Grant[]> {
    const rows = (await (all ? this.selectAll : this.selectAllActive).all()) as GrantRow[];
    const now = this.store.now();
    const late = (row: GrantRow): boolean => row.status === "active" && this.isLate(row, now);
    const shown = rows.map((row) => grantOf(late(row) ? { ...row, status: "expired" } : row));
    return all ? shown : shown.filter(({ status }) => status === "active");
  }

  /** One that has ended stays as it is: nothing runs by it. */
  async revoke(batch: Batch, id: number, by: Principal, reason: string): Promise<AegisError | null> {
    const row = await this.get(id);
    if (row === undefined) {
      return new AegisError("unknown_grant", `There is no grant ${id}; nothing was changed.`, {
        hint: "`aegis grants` lists them.",
      });
    }
    await this.end(batch, row, "revoked", by.name, reason);
    return null;
  }

  /** Of an agent that was killed. @param reason a sentence without its full stop */
  async voidAllOf(batch: Batch, agent: string, reason: string): Promise<void> {
    for (const row of (await this.selectOf.all(agent)) as GrantRow[])
      await this.end(batch, row, "void", null, reason);
  }

  /** Of a token that was revoked: whoever gave or helped to give may not any more. */
  async voidAllByToken(batch: Batch, token: number): Promise<void> {
    for (const row of (await this.selectOfToken.all(token, token)) as GrantRow[])
      await this.endIfOver(batch, row);
  }

  /** Whether {@link expireDue} has something to do; read outside of a transaction. */
  async anyDue(now: number): Promise<boolean> {
    return this.deadlines.over().length > 0 || (await this.selectAnyDue.get(now)) !== undefined;
  }

  /** Ends some of those that are due; false where those were all. */
  async expireDue(batch: Batch): Promise<boolean> {
    const rows = (await this.selectDue.all(batch.now)) as GrantRow[];
    for (const row of rows) await this.endIfOver(batch, row);
    const over = this.deadlines.over();
    for (const [id, opened] of over.slice(0, SOME)) {
      const row = await this.get(id);
      // Forgotten only where there is nothing to end: this transaction may be rolled back.
      if (row?.status === "active" && row.created_at === opened) await this.endIfOver(batch, row);
      else this.deadlines.forget(id);
    }
    return rows.length >= SOME || over.length > SOME;
  }

  private async get(id: number): Promise<GrantRow | undefined> {
    return Number.isSafeInteger(id) ? ((await this.select.get(id)) as GrantRow | undefined) : undefined;
  }

  private covers(row: GrantRow, intent: Intent, toolVersion: number | null): boolean {
    if (
      row.principal !== intent.principal ||
      row.server !== intent.server ||
      row.tool !== intent.tool ||
      row.definition !== intent.definition ||
      row.tool_version !== toolVersion
    )
      return false;
    const patterns = patternsOf(row);
    const parted = coveredPart(intent.arguments, patterns);
    return parted !== null && this.restOf(intent, patterns, parted) === row.rest;
  }

  /** HMAC over all that may not differ: of what, and which arguments were left out of it. */
  private restOf(
    { agent, server, tool, definition }: Pick<Intent, "agent" | "server" | "tool" | "definition">,
    patterns: GrantTerms["arguments"],
    { rest }: Parted,
  ): string {
    const names = Object.keys(patterns).toSorted();
    const bound = JSON.stringify(["aegis grant 1", definition, names]);
    return this.digester.digest({ agent, server, tool, definition: bound, arguments: rest });
  }

  /** Ends it where it does not count at this moment, whenever the sweep comes. */
  private async endIfOver(batch: Batch, row: GrantRow): Promise<boolean> {
    const over = await this.over(batch, row);
    if (over !== null) await this.end(batch, row, over.status, null, over.reason);
    return over !== null;
  }

  private async over(
    batch: Batch,
    row: GrantRow,
  ): Promise<{ readonly status: "expired" | "void"; readonly reason: string } | null> {
    if (this.isLate(row, batch.now)) return { status: "expired", reason: `Grant ${row.id} has expired.` };
    const fallen = await this.votes.standingOf(row.approval);
    return fallen === null ? null : { status: "void", reason: `Grant ${row.id} is void: ${fallen}.` };
  }

  private isLate(row: GrantRow, now: number): boolean {
    return this.deadlines.isOver(row) || now >= row.expires_at || now < row.created_at - SKEW;
  }

  private async end(
    batch: Batch,
    row: GrantRow,
    status: GrantEnd,
    by: string | null,
    reason: string,
  ): Promise<void> {
    const ended = (await this.setEnded.get(status, batch.now, by, row.id)) as GrantRow | undefined;
    if (ended !== undefined) recordGrant(batch, ended, status, by, reason);
  }
}

/** The same for the same requirement, with the same offer. */
function requirementText({ grant, approvers, quorum, reason, channels }: Requirement): string {
  const offer = grant && [grant.uses, grant.expires, patternsText(grant.arguments)];
  return JSON.stringify([approvers, quorum, reason, channels, offer]);
}

/** The same for the same patterns. */
function patternsText(patterns: GrantTerms["arguments"]): string {
  return JSON.stringify(
    Object.fromEntries(Object.entries(patterns).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
}
