import type { DecisionOptions, Principal, Vote } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import type { Batch } from "../batch.js";
import type { Statement, Store } from "../store/store.js";
import { isoTime } from "../time.js";
import { type ApprovalRow, requirementOf } from "./rows.js";

/** Approvals whose votes are read in one go. */
const SOME = 20;

export interface VoteRow {
  readonly approval: number;
  readonly voter: string;
  readonly token: number | null;
  readonly at: number;
  readonly reason: string;
  /** What this person would grant beyond the one call; null for nothing. */
  readonly grant_uses: number | null;
  readonly grant_expires: number | null;
  /** 0: its token was revoked since, and takes it back. The expiry of a token takes nothing back. */
  readonly stands: number;
}

/** Who has approved what: one vote of one person, whichever tokens and ways that person has (threat A24). */
export class Votes {
  private readonly committed: Statement;
  private readonly current: Statement;
  private readonly insert: Statement;
  private readonly remove: Statement;
  private readonly selectApproval: Statement;

  constructor({ reader, writer }: Store) {
    const select = `SELECT v.*, CASE WHEN v.token IS NULL OR (t.id IS NOT NULL AND t.revoked_at IS NULL) THEN 1 ELSE 0 END AS stands
      FROM approval_votes v LEFT JOIN tokens t ON t.id = v.token`;
    const some = Array.from({ length: SOME }, () => "?").join(", ");
    this.committed = reader.prepare(
      `${select} WHERE v.approval IN (${some}) ORDER BY v.approval, v.at, v.voter`,
    );
    this.current = writer.prepare(`${select} WHERE v.approval = ? ORDER BY v.at, v.voter`);
    this.insert = writer.prepare(
      `INSERT INTO approval_votes (approval, voter, token, at, reason, grant_uses, grant_expires)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    this.selectApproval = writer.prepare("SELECT id, requirement FROM approvals WHERE id = ?");
    this.remove = writer.prepare("DELETE FROM approval_votes WHERE approval = ? AND voter = ?");
  }

  /** Committed: of at most {@link SOME} approvals. */
  async of(ids: readonly number[]): Promise<readonly VoteRow[]> {
    if (ids.length === 0) return [];
    const asked = Array.from({ length: SOME }, (_, index) => ids[index] ?? 0);
    return (await this.committed.all(...asked)) as VoteRow[];
  }

  /** Inside a transaction. */
  async now(approval: number): Promise<readonly VoteRow[]> {
    return (await this.current.all(approval)) as VoteRow[];
  }

  /**
   * Writes a vote down. Returns those that count now, or why this one does not.
   *
   * @param reason redacted
   */
  async cast(
    batch: Batch,
    approval: number,
    by: Principal,
    reason: string,
    grant: Required<NonNullable<DecisionOptions["grant"]>> | null,
  ): Promise<readonly VoteRow[] | AegisError> {
    const before = (await this.now(approval)).find(({ voter }) => samePerson(voter, by.name));
    if (before !== undefined && before.stands !== 0) return again(before);
    // Taken back by a revocation: with another token the same person may say it again.
    if (before !== undefined) await this.remove.run(approval, before.voter);
    const terms = [grant?.uses ?? null, grant?.expires ?? null];
    await this.insert.run(approval, by.name, by.token, batch.now, reason, ...terms);
    return (await this.now(approval)).filter(({ stands }) => stands !== 0);
  }

  /** Why what was approved does not count any more, as a clause; null where it does. Inside a transaction. */
  async standing(row: Pick<ApprovalRow, "id" | "requirement">): Promise<string | null> {
    const { quorum } = requirementOf(row);
    const left = (await this.now(row.id)).filter(({ stands }) => stands !== 0).length;
    if (left >= quorum) return null;
    if (quorum === 1) return "the token that approved it was revoked";
    return `a token that approved it was revoked, which leaves ${left} of ${quorum} approvals`;
  }

  /** The same of an approval by its id. */
  async standingOf(approval: number): Promise<string | null> {
    const row = (await this.selectApproval.get(approval)) as
      | Pick<ApprovalRow, "id" | "requirement">
      | undefined;
    return row === undefined ? "its approval is not there any more" : this.standing(row);
  }
}

/** As people see them: those that count. */
export function votesOf(rows: readonly VoteRow[], approval: number): Vote[] {
  return rows
    .filter((row) => row.approval === approval && row.stands !== 0)
    .map(({ voter, at, reason, grant_uses: uses, grant_expires: expires }) => ({
      by: voter,
      at: isoTime(at),
      reason,
      ...(uses === null || expires === null ? {} : { grant: { uses, expires } }),
    }));
}

/**
 * Whether two names are one person's. Case, white space and compatibility forms make no second person: an issuer may
 * vouch for `Bob` what a token calls `bob`.
 */
export function samePerson(one: string, other: string): boolean {
  return folded(one) === folded(other);
}

/** The same for every spelling of one name. */
export function folded(name: string): string {
  return name.normalize("NFKC").replace(/\s+/gu, "").toUpperCase().toLowerCase().normalize("NFKC");
}

function again({ approval, voter, at }: VoteRow): AegisError {
  return new AegisError(
    "already_approved",
    `${voter} has approved approval ${approval} already, at ${isoTime(at)}; nothing was changed.`,
    { hint: "The other approvals must come from other people." },
  );
}
