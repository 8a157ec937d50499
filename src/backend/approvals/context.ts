import type { ApprovalContext } from "../../client/backend.js";
import type { Statement, Store } from "../store/store.js";
import { isoTime } from "../time.js";
import { type ApprovalRow, openCondition } from "./rows.js";

/** Of one call that is repeated without end an approver is told so many. */
const ALIKE = 1_000;

/** What an approver sees beside the approval: the tool as it was shown, what was let through before, what else waits. */
export class ApprovalContexts {
  private readonly select: Statement;
  private readonly selectText: Statement;
  private readonly selectPrevious: Statement;
  private readonly selectAlike: Statement;

  constructor({ reader }: Store) {
    const columns =
      "id, agent, principal, action, definition, redacted, digest, decided_at, decided_by, stage";
    this.select = reader.prepare(`SELECT ${columns} FROM approvals WHERE id = ?`);
    this.selectText = reader.prepare("SELECT text FROM definitions WHERE hash = ?");
    this.selectPrevious = reader.prepare(
      `SELECT ${columns} FROM approvals WHERE agent = ? AND action = ? AND status = 'consumed' AND id <> ?
         AND stage IS NOT DISTINCT FROM CAST(? AS TEXT) ORDER BY id DESC LIMIT 1`,
    );
    // The digest of a result is none of a call.
    this.selectAlike = reader.prepare(
      `SELECT id FROM approvals WHERE digest = ? AND agent = ? AND principal = ? AND ${openCondition}
       ORDER BY id LIMIT ${ALIKE}`,
    );
  }

  /** Committed; null where there is no such approval. */
  async of(id: number): Promise<ApprovalContext | null> {
    const row = Number.isSafeInteger(id) ? ((await this.select.get(id)) as Shown | undefined) : undefined;
    if (row === undefined) return null;
    const { agent, principal, action, digest, stage } = row;
    const previous = (await this.selectPrevious.get(agent, action, id, stage)) as Shown | undefined;
    const alike = (await this.selectAlike.all(digest, agent, principal)) as Array<{ id: number }>;
    return {
      definition: await this.textOf(row),
      previous: previous === undefined ? null : await this.before(previous),
      alike: alike.map((each) => each.id),
    };
  }

  private async before(row: Shown): Promise<ApprovalContext["previous"]> {
    const { id, redacted, decided_by, decided_at } = row;
    return {
      id,
      redacted,
      decidedBy: decided_by,
      decidedAt: decided_at === null ? null : isoTime(decided_at),
      definition: await this.textOf(row),
    };
  }

  private async textOf({ definition }: Shown): Promise<string | null> {
    const found = (await this.selectText.get(definition)) as { text: string } | undefined;
    return found?.text ?? null;
  }
}

type Shown = Pick<
  ApprovalRow,
  | "id"
  | "agent"
  | "principal"
  | "action"
  | "definition"
  | "redacted"
  | "digest"
  | "decided_at"
  | "decided_by"
  | "stage"
>;
