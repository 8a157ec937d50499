import type { ApprovalStatus, Intent, Principal } from "../../client/backend.js";
import { conditionArguments } from "../../policy/arguments.js";
import { countsNeeded } from "../../policy/counts.js";
import { type DeclaredDecision, decideDeclared } from "../../policy/declared.js";
import type { CountKey, Question } from "../../policy/policy.js";
import { uncounted } from "../../policy/trial/uncounted.js";
import { noRequirement } from "../../requirement.js";
import type { Agents } from "../agents.js";
import type { Approvals } from "../approvals/approvals.js";
import type { ApprovalRow } from "../approvals/rows.js";
import type { Batch } from "../batch.js";
import type { CallCounts } from "../decisions/counts.js";
import type { Digester } from "../decisions/digest.js";
import { redactArguments, redactText } from "../ledger/redact.js";
import type { PathRedaction } from "../ledger/redact-paths.js";
import type { PolicySource } from "../policies.js";
import type { Store } from "../store/store.js";
import type { Tokens } from "../tokens.js";
import { sdkCall } from "./action.js";
import type { Declarations } from "./declarations.js";

/** What an SDK's agent asks a person. */
export interface SdkRequest {
  readonly agent: string;
  /** As the SDK calls it. */
  readonly action: string;
  /** As it was sent; JSON mostly, but nothing says so. */
  readonly args: string;
  /** As conditions see them. */
  readonly seen: unknown;
  readonly digest: string;
  /** Redacted JSON text. */
  readonly redacted: string;
}

export interface SdkApprovalParts {
  readonly store: Store;
  readonly agents: Agents;
  readonly approvals: Approvals;
  readonly counts: CallCounts;
  readonly declarations: Declarations;
  readonly tokens: Tokens;
  readonly policies: PolicySource;
  readonly digester: Digester;
  readonly redactPaths: PathRedaction;
  /** Milliseconds an approval lives where no rule says otherwise. */
  readonly holdExpires: number;
}

/**
 * Approvals that an agent asks for by itself, and whose answer it picks up by number: no gateway holds the call, so
 * nobody attaches to one, and each is picked up once (threat Z1).
 */
export class SdkApprovals {
  constructor(private readonly parts: SdkApprovalParts) {}

  prepare(agent: string, action: string, args: string): SdkRequest {
    const { server, tool } = sdkCall(action);
    const { digester, redactPaths } = this.parts;
    let parsed: unknown = args;
    let digest: string;
    try {
      parsed = JSON.parse(args);
      digest = digester.digest({ agent, server, tool, definition: "json", arguments: args });
    } catch {
      // No JSON, or none that has a canonical form: the text itself.
      const text = JSON.stringify(args);
      digest = digester.digest({ agent, server, tool, definition: "text", arguments: text });
    }
    return {
      agent,
      action,
      args,
      digest,
      redacted: redactPaths(redactArguments(parsed)),
      seen: seenBy(args),
    };
  }

  /**
   * Opens an approval and records that it was asked for. Where the agent was killed, the policy blocks or there is no
   * room for one more, it is void at once: what polls it hears DENIED, and nobody is asked. Returns its number.
   */
  async request(batch: Batch, wanted: SdkRequest, by: Principal): Promise<number> {
    const { agents, approvals, policies, holdExpires } = this.parts;
    const { agent, digest, redacted } = wanted;
    await agents.see(batch, agent);
    const call = sdkCall(wanted.action);
    const { said } = await this.say(batch, { agent, ...call, args: wanted.seen });
    const stopped = await this.stopped(batch, agent);
    const rule = stopped === null ? said.rule : null;
    const why = said.decision === "ALLOW" ? "The agent asks for a decision." : said.reason;
    const intent = intentOf(wanted, by);
    const asks = stopped === null && said.decision !== "BLOCK";
    const full = asks ? await approvals.full({ intent, redacted }) : null;
    const reason = stopped ?? full ?? why;
    const decision = stopped === null ? (asks && full === null ? "REVIEW" : "BLOCK") : "KILLED";
    const expires = said.expires ?? holdExpires;
    const question = {
      intent,
      digest,
      redacted,
      rule,
      reason,
      expires,
      requirement: said.requirement ?? noRequirement,
      revision: (await policies.inForce(batch)).revision,
      toolVersion: null,
    };
    // One that there is no room for keeps nothing but its number: the arguments are in the ledger.
    const row = await approvals.open(batch, full === null ? question : { ...question, redacted: "" });
    batch.records.append({
      kind: "decision",
      agent,
      principal: by.name,
      ...call,
      decision,
      rule: rule === null ? null : redactText(rule),
      reason: redactText(reason),
      revision: question.revision,
      approval: row.id,
      digest,
      arguments: redacted,
    });
    batch.count(agent, decision === "REVIEW" ? "held" : "blocked");
    if (decision !== "REVIEW") await approvals.void(batch, row, reason.replace(/\.$/, ""));
    return row.id;
  }

  /**
   * What has become of an approval, beside a transaction: `approved` and `due` say that there may be something to write.
   * Null where there is none, or it is another's.
   */
  async look(id: number, by: Principal): Promise<ApprovalStatus | "due" | null> {
    const row = await this.parts.approvals.committed(id);
    if (row === undefined || !isOf(row, by)) return null;
    return row.status === "pending" && this.parts.store.now() >= row.expires_at ? "due" : toldTo(by, row);
  }

  /**
   * What has become of an approval, told to whoever asked for it: an approved one is used up by that, after everything
   * was checked again under the state of this moment. Null where there is none, or it is another's.
   */
  async pickUp(batch: Batch, id: number, by: Principal): Promise<ApprovalStatus | null> {
    const { approvals } = this.parts;
    const row = await approvals.get(id);
    if (row === undefined || !isOf(row, by)) return null;
    if (await approvals.expireIfDue(batch, row)) return "expired";
    // People only look.
    const told = toldTo(by, row);
    if (told !== "approved" || by.role !== "agent") return told;
    const { agent, server, tool, action } = row;
    const { arguments: text } = await approvals.describe(row, new Set());
    const { said, needs } = await this.say(batch, { agent, server, tool, action, args: seenBy(text) });
    // A limit refuses for now: whoever polls asks again.
    if (said.passing === true) return "pending";
    const cause =
      (await this.stopped(batch, row.agent)) ??
      (await approvals.standing(batch, row)) ??
      (said.decision === "BLOCK" ? "the policy blocks the call now" : null);
    if (cause === null) {
      await approvals.consume(batch, row, useOf(id));
      await this.parts.counts.add(batch, { call: useOf(id), gateway: "", agent, action }, needs);
    } else await approvals.void(batch, row, cause.replace(/\.$/, ""));
    return cause === null ? "consumed" : "void";
  }

  private async say(
    batch: Batch,
    question: Question,
  ): Promise<{ readonly said: DeclaredDecision; readonly needs: readonly CountKey[] }> {
    const { counts, declarations, policies } = this.parts;
    const declared = await declarations.of(question.agent, question.action);
    const inForce = await policies.inForce(batch);
    // How long a call runs in the agent's own process nobody hears: those that run are not counted.
    const needs = countsNeeded(inForce, question).filter(({ window }) => window !== null);
    const known = uncounted(await counts.read(batch, question.agent, needs));
    return {
      said: decideDeclared(inForce, declared, { ...question, now: batch.now, counts: known }),
      needs,
    };
  }

  /** Why the agent may run nothing at all, or null. */
  private async stopped(batch: Batch, agent: string): Promise<string | null> {
    const killed = (await batch.agent(agent))?.killed ?? null;
    return killed === null ? null : `The agent ${agent} was stopped by ${killed.by} at ${killed.at}.`;
  }
}

/** None where they are no JSON: a condition that looks at them is an error, which denies. */
function seenBy(text: string): unknown {
  try {
    return conditionArguments(text, JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Stands for the call that a picked up approval was used by. */
function useOf(id: number): string {
  return `sdk-${id}`;
}

/**
 * Whoever is told that it was approved runs the call: of all agents only the one that asked, and not where a gateway's
 * call uses it up, or one click would run two. To the others it stays pending.
 */
function toldTo(
  by: Principal,
  { id, status, principal, waiter_call, consumed_call }: ApprovalRow,
): ApprovalStatus {
  if (by.role !== "agent" || (status !== "approved" && status !== "consumed")) return status;
  const free = status === "approved" ? waiter_call === null : consumed_call === useOf(id);
  return principal === by.name && free ? status : "pending";
}

/** A token that names its agent sees what was asked for that agent; one that names none, what it asked itself. */
function isOf(row: ApprovalRow, by: Principal): boolean {
  if (by.role !== "agent") return true;
  return by.agent === null ? row.principal === by.name : row.agent === by.agent;
}

function intentOf({ agent, action, args }: SdkRequest, by: Principal): Intent {
  return {
    call: "",
    gateway: "",
    agent,
    principal: by.name,
    ...sdkCall(action),
    definition: "",
    arguments: args,
    parsed: undefined,
  };
}
