import type { BackendEvent } from "../../client/backend.js";
import type { NotifyConfig } from "../../config-notify.js";
import type { Logger } from "../../log.js";
import { noRequirement, type Requirement } from "../../requirement.js";
import type { ApprovalRow } from "../approvals/rows.js";
import { patiently } from "../store/patience.js";
import type { Statement, Store } from "../store/store.js";
import { isoTime } from "../time.js";
import { commandTarget } from "./command.js";
import type { Notice } from "./notice.js";
import { type Item, Outlet, type Target } from "./outlet.js";
import { slackTarget, webhookTarget } from "./post.js";

/** Whom this process tells of the approvals it opens. Plain data: it travels to the backend's thread. */
export interface Notify extends NotifyConfig {
  /** The origin at which the page of an approval is; null where this backend has none. */
  readonly page: string | null;
}

/** Approvals whose end is still to be told; as many as can be open. */
const REMEMBERED = 10_000;

type Row = Pick<
  ApprovalRow,
  | "id"
  | "agent"
  | "principal"
  | "action"
  | "server"
  | "tool"
  | "stage"
  | "rule"
  | "reason"
  | "status"
  | "requirement"
  | "created_at"
  | "expires_at"
  | "decided_reason"
>;

/**
 * Tells people that they are asked: after the commit, and beside the calls. Only the process that opened an approval
 * tells of it, so that several on one store tell once.
 */
export class Notifier {
  private readonly outlets: readonly Outlet[];
  private readonly select: Statement;
  /** Opened here, and not decided yet. */
  private readonly opened = new Set<number>();

  constructor(
    private readonly store: Store,
    private readonly notify: Notify | null,
    log: Logger,
  ) {
    const read = (item: Item): Promise<Notice | null> => this.read(item);
    this.outlets = targetsOf(notify).map((target) => new Outlet(target, read, log));
    // Never their arguments.
    this.select = store.reader.prepare(
      `SELECT id, agent, principal, action, server, tool, stage, rule, reason, status, requirement, created_at, expires_at,
         decided_reason FROM approvals WHERE id = ?`,
    );
  }

  /** @param opened ids of approvals that are committed */
  committed(opened: readonly number[]): void {
    if (this.outlets.length === 0) return;
    for (const id of opened) {
      if (this.opened.size < REMEMBERED) this.opened.add(id);
      this.tell({ id, event: "opened" });
    }
  }

  /** What became of one, whichever process did it. */
  hear(event: BackendEvent): void {
    if (event.kind !== "approval" || event.status === "pending" || !this.opened.delete(event.id)) return;
    const { id, status } = event;
    // Who decides knows it; of an end that nobody has made somebody may want to know.
    if (status === "expired" || status === "void") this.tell({ id, event: status });
  }

  async close(): Promise<void> {
    await Promise.all(this.outlets.map((outlet) => outlet.close()));
  }

  private tell(item: Item): void {
    for (const outlet of this.outlets) outlet.add(item);
  }

  private async read({ id, event }: Item): Promise<Notice | null> {
    const row = (await patiently(this.store, () => this.select.get(id))) as Row | undefined;
    if (row === undefined || (event === "opened" && row.status !== "pending")) return null;
    const { agent, principal, action, server, tool, stage, rule } = row;
    const page = this.notify?.page ?? null;
    return {
      event,
      id,
      agent,
      principal,
      action,
      server,
      tool,
      ...(stage === null ? {} : { stage }),
      rule,
      reason: event === "void" ? (row.decided_reason ?? row.reason) : row.reason,
      requirement: row.requirement === null ? noRequirement : (JSON.parse(row.requirement) as Requirement),
      createdAt: isoTime(row.created_at),
      expiresAt: isoTime(row.expires_at),
      link: page === null ? null : new URL(`/approvals/${id}`, page).href,
    };
  }
}

function targetsOf(notify: Notify | null): Target[] {
  if (notify === null) return [];
  const { webhook, slack, command } = notify;
  return [
    ...(webhook === null ? [] : [webhookTarget(webhook)]),
    ...(slack === null ? [] : [slackTarget(slack)]),
    ...(command === null ? [] : [commandTarget(command)]),
  ];
}
