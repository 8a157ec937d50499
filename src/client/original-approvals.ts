import { hash } from "node:crypto";
import { reasonOf } from "../errors.js";
import type { Logger } from "../log.js";
import { noRequirement } from "../requirement.js";
import type { Approval, ApprovalStatus, Intent, Waiting } from "./backend.js";
import type { Listeners } from "./listeners.js";
import type { OriginalApi, OriginalApprovalStatus } from "./original-api.js";

/** Milliseconds between two looks at an approval that a call waits on: at first, and at last. */
const POLL = 500;
const POLL_AT_MOST = 2_000;
const SLOWER = 1.1;
/** Approvals kept in mind; of more the oldest that nobody waits on are forgotten. */
const KEPT = 10_000;

interface Entry {
  readonly id: number;
  readonly digest: string;
  readonly intent: Intent;
  readonly rule: string | null;
  readonly reason: string;
  readonly createdAt: number;
  /** `performance.now()` and wall clock at which it expires. */
  readonly deadline: number;
  readonly expiresAt: number;
  /** Which of the backend's stores numbered it, counted from when this process began. */
  readonly store: number;
  status: ApprovalStatus;
  /** The call that waits on it. */
  waiter: string | null;
  timer: NodeJS.Timeout | null;
}

/**
 * What the original does not know of its approvals: which one call each was given for, that it is used once, and that
 * it expires. Only kept here: after a restart everything is asked anew.
 */
export class OriginalApprovals {
  private readonly entries = new Map<number, Entry>();
  private newest = 0;
  private store = 0;
  private stopped = false;

  constructor(
    private readonly api: OriginalApi,
    private readonly listeners: Listeners,
    /** Milliseconds until an approval expires. */
    private readonly expires: number,
    private readonly log: Logger,
  ) {}

  /** Attaches to an open approval of exactly this call that nobody waits on, else opens one. @throws AegisError */
  async ask(intent: Intent, rule: string | null, reason: string, until: number): Promise<Waiting> {
    const digest = digestOf(intent);
    for (const entry of this.entries.values()) {
      if (entry.digest !== digest || entry.waiter !== null || !isOpen(entry)) continue;
      // Taken before anything is awaited: a second call of the kind must not get the same.
      entry.waiter = intent.call;
      try {
        await this.look(entry, until);
      } catch (thrown) {
        entry.waiter = null;
        throw thrown;
      }
      if (isOpen(entry)) return this.waiting(entry);
      entry.waiter = null;
    }
    const args = intent.arguments === "" ? "{}" : intent.arguments;
    const id = await this.open(intent.agent, intent.action, args, until);
    const now = Date.now();
    const entry: Entry = {
      id,
      digest,
      intent,
      rule,
      reason,
      createdAt: now,
      deadline: performance.now() + this.expires,
      expiresAt: now + this.expires,
      store: this.store,
      status: "pending",
      waiter: intent.call,
      timer: null,
    };
    this.entries.set(id, entry);
    this.forgetOldest();
    return this.waiting(entry);
  }

  /**
   * Uses an approval up for this call. @returns why it does not let the call run, or null where it does
   * @throws AegisError
   */
  async use(id: number, intent: Intent, until: number): Promise<string | null> {
    const entry = this.entries.get(id);
    const foreign = `Approval ${id} was given for another call.`;
    if (entry === undefined) return foreign;
    if (entry.digest !== digestOf(intent)) {
      const redefined = entry.digest === digestOf({ ...intent, definition: entry.intent.definition });
      if (!redefined) return foreign;
      await this.end(entry, "void");
      return `Approval ${id} is void: the tool's definition changed after it was shown.`;
    }
    if (entry.waiter !== null && entry.waiter !== intent.call) return `Another call waits on approval ${id}.`;
    await this.look(entry, until);
    if (entry.status !== "approved") return `Approval ${id} is ${entry.status}; this call was not run.`;
    entry.status = "consumed";
    this.leave(entry);
    return null;
  }

  /** The policy, or a kill, has taken it away. */
  async void(id: number): Promise<void> {
    const entry = this.entries.get(id);
    if (entry !== undefined && isOpen(entry)) await this.end(entry, "void");
  }

  async voidAll(agent: string): Promise<void> {
    for (const entry of this.entries.values()) if (entry.intent.agent === agent) await this.void(entry.id);
  }

  detach(id: number, call: string): void {
    const entry = this.entries.get(id);
    if (entry?.waiter === call) this.leave(entry);
  }

  known(id: number): Approval | undefined {
    const entry = this.entries.get(id);
    return entry === undefined ? undefined : approvalOf(entry);
  }

  all(): Approval[] {
    return [...this.entries.values()].map(approvalOf);
  }

  stop(): void {
    this.stopped = true;
    for (const entry of this.entries.values()) this.leave(entry);
  }

  private waiting(entry: Entry): Waiting {
    if (entry.timer === null) this.poll(entry, POLL);
    return { id: entry.id, status: entry.status, expiresAt: new Date(entry.expiresAt).toISOString() };
  }

  private poll(entry: Entry, wait: number): void {
    entry.timer = setTimeout(() => {
      this.look(entry, performance.now() + POLL_AT_MOST)
        .catch((thrown: unknown) =>
          this.log.debug({ reason: reasonOf(thrown) }, "an approval cannot be read"),
        )
        .then(
          () => {
            if (entry.timer === null || this.stopped) return;
            if (isOpen(entry) && entry.waiter !== null)
              this.poll(entry, Math.min(wait * SLOWER, POLL_AT_MOST));
            else entry.timer = null;
          },
          () => {},
        );
    }, wait).unref();
  }

  /** Asks how it stands, and tells where that has changed. */
  private async look(entry: Entry, until: number): Promise<void> {
    if (!isOpen(entry)) return;
    if (performance.now() >= entry.deadline || Date.now() >= entry.expiresAt)
      return this.end(entry, "expired");
    const status = await this.api.approvalStatus(entry.id, until - performance.now());
    if (!isOpen(entry)) return;
    const now = statusOf(status);
    if (now === entry.status) return;
    if (now === "approved") {
      entry.status = now;
      await this.listeners.tell({ kind: "approval", id: entry.id, status: now });
    } else await this.end(entry, now === "pending" ? "void" : now);
  }

  private async end(entry: Entry, status: "denied" | "expired" | "void"): Promise<void> {
    entry.status = status;
    this.leave(entry);
    await this.listeners.tell({ kind: "approval", id: entry.id, status });
  }

  private leave(entry: Entry): void {
    entry.waiter = null;
    if (entry.timer !== null) clearTimeout(entry.timer);
    entry.timer = null;
  }

  /** @throws AegisError */
  private async open(agent: string, action: string, args: string, until: number): Promise<number> {
    for (;;) {
      // As of the question: the answers to two at once may come in any order.
      const { newest, store } = this;
      const id = await this.api.ask(agent, action, args, until - performance.now());
      const changed = store !== this.store;
      const twice = id > newest && this.entries.get(id)?.store === this.store;
      if (!changed && (id <= newest || twice)) this.restarted(id);
      // Which of two stores numbered this one is not known: nobody waits on it.
      if (changed || twice) continue;
      this.newest = Math.max(this.newest, id);
      return id;
    }
  }

  /** Numbers that begin again mean another store: what is approved there was asked by somebody else (Z11). */
  private restarted(id: number): void {
    this.store++;
    this.newest = id;
    for (const entry of this.entries.values()) {
      if (!isOpen(entry)) continue;
      this.end(entry, "void").catch((thrown: unknown) =>
        this.log.error({ reason: reasonOf(thrown) }, "unexpected"),
      );
    }
  }

  private forgetOldest(): void {
    if (this.entries.size <= KEPT) return;
    for (const [id, entry] of this.entries) {
      if (entry.waiter !== null) continue;
      this.entries.delete(id);
      return;
    }
  }
}

function statusOf(status: OriginalApprovalStatus): "pending" | "approved" | "denied" | "void" {
  switch (status) {
    case "PENDING":
      return "pending";
    case "APPROVED":
      return "approved";
    case "DENIED":
      return "denied";
    case null:
      return "void";
  }
}

function isOpen({ status }: Entry): boolean {
  return status === "pending" || status === "approved";
}

/** One call exactly as it was shown: only in memory, so it needs no key. */
function digestOf({ agent, principal, server, tool, definition, arguments: args }: Intent): string {
  return hash("sha256", JSON.stringify([agent, principal, server, tool, definition, args]));
}

function approvalOf({ intent, ...entry }: Entry): Approval {
  return {
    id: entry.id,
    agent: intent.agent,
    principal: intent.principal,
    server: intent.server,
    tool: intent.tool,
    action: intent.action,
    arguments: intent.arguments,
    status: entry.status,
    rule: entry.rule,
    reason: entry.reason,
    digest: entry.digest,
    redacted: "",
    requirement: noRequirement,
    votes: [],
    waiting: entry.waiter !== null,
    createdAt: new Date(entry.createdAt).toISOString(),
    expiresAt: new Date(entry.expiresAt).toISOString(),
    decidedAt: null,
    decidedBy: null,
    decidedReason: null,
  };
}
