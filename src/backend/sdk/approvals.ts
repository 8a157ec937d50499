import type { ApprovalStatus, Intent, Principal } from "../../client/backend.js";
import type { DataRule } from "../../data/rules.js";
import { conditionArguments } from "../../policy/arguments.js";
import { candidatesOf } from "../../policy/candidates.js";
import { rulesFor } from "../../policy/compile.js";
import { countsNeeded } from "../../policy/counts.js";
import { type DeclaredDecision, decideDeclared } from "../../policy/declared.js";
import type { CountKey, PolicyDecision, PolicySet, Question } from "../../policy/policy.js";
import { uncounted } from "../../policy/trial/uncounted.js";
import { noRequirement } from "../../requirement.js";
import type { Agents } from "../agents.js";
import type { Approvals } from "../approvals/approvals.js";
import type { ApprovalRow } from "../approvals/rows.js";
import type { Batch } from "../batch.js";
import type { CallCounts } from "../decisions/counts.js";
import type { Digester } from "../decisions/digest.js";
import { search } from "../decisions/found-data.js";
import { policyError } from "../decisions/judgement.js";
import { observed } from "../decisions/records.js";
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
  readonly looked: Looked;
  readonly digest: string;
  /** Redacted JSON text. */
  readonly redacted: string;
}

/** Whose call, and of what. */
type Asked = Pick<Question, "agent" | "server" | "tool" | "action">;

/** Arguments that the policies have looked at. */
interface Looked {
  readonly policies: PolicySet;
  /** As conditions see them. */
  readonly args: unknown;
  readonly found: readonly DataRule[];
  /** Parsed, without what was found: what the ledger's form is made of. */
  readonly cleared: unknown;
  /** Why they can not be decided with at all. */
  readonly failed: PolicyDecision | null;
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

  prepare(agent: string, action: string, args: string, policies = this.parts.policies.known): SdkRequest {
    const call = sdkCall(action);
    const { server, tool } = call;
    const { digester, redactPaths } = this.parts;
    let digest: string;
    try {
      // Only what this accepts can be made canonical.
      JSON.parse(args);
      digest = digester.digest({ agent, server, tool, definition: "json", arguments: args });
    } catch {
      // No JSON, or none that has a canonical form: the text itself.
      const text = JSON.stringify(args);
      digest = digester.digest({ agent, server, tool, definition: "text", arguments: text });
    }
    const looked = lookAt({ agent, ...call, args }, policies);
    return { agent, action, args, digest, looked, redacted: redactPaths(redactArguments(looked.cleared)) };
  }

  /**
   * Opens an approval and records that it was asked for. Where the agent was killed, the policy blocks or there is no
   * room for one more, it is void at once: what polls it hears DENIED, and nobody is asked. Returns its number.
   */
  async request(batch: Batch, ahead: SdkRequest, by: Principal): Promise<number> {
    const { agents, approvals, policies, holdExpires } = this.parts;
    const { agent } = ahead;
    await agents.see(batch, agent);
    const inForce = await policies.inForce(batch);
    const wanted =
      inForce === ahead.looked.policies ? ahead : this.prepare(agent, ahead.action, ahead.args, inForce);
    const { digest, redacted, looked } = wanted;
    const call = sdkCall(wanted.action);
    const { said } = await this.say(batch, { agent, ...call }, looked);
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
      revision: inForce.revision,
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
      ...observed({ intent: {}, found: looked.found }, said),
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
    const call = { agent, server, tool, action };
    const looked = lookAt({ ...call, args: text }, await this.parts.policies.inForce(batch));
    const { said, needs } = await this.say(batch, call, looked);
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
    call: Asked,
    { policies, args, found, failed }: Looked,
  ): Promise<{ readonly said: DeclaredDecision; readonly needs: readonly CountKey[] }> {
    const { counts, declarations } = this.parts;
    if (failed !== null) return { said: { ...failed, stated: true }, needs: [] };
    const declared = await declarations.of(call.agent, call.action);
    // How long a call runs in the agent's own process nobody hears: those that run are not counted.
    const needs = countsNeeded(policies, call).filter(({ window }) => window !== null);
    const known = uncounted(await counts.read(batch, call.agent, needs));
    const question = { ...call, args, found, now: batch.now, counts: known };
    return { said: decideDeclared(policies, declared, question), needs };
  }

  /** Why the agent may run nothing at all, or null. */
  private async stopped(batch: Batch, agent: string): Promise<string | null> {
    const killed = (await batch.agent(agent))?.killed ?? null;
    return killed === null ? null : `The agent ${agent} was stopped by ${killed.by} at ${killed.at}.`;
  }
}

/**
 * Arguments as policy sees them: a text that is no JSON is one string, in which data is found, and which every condition
 * that looks at arguments fails at, and so denies. What a rule redacts is redacted in the ledger; the agent itself runs
 * with what it has, and a person decides with that before their eyes.
 */
function lookAt({ args, ...call }: Asked & { readonly args: string }, policies: PolicySet): Looked {
  let parsed: unknown = args;
  let text = args;
  let isJson = true;
  try {
    parsed = JSON.parse(args);
  } catch {
    text = JSON.stringify(args);
    isJson = false;
  }
  try {
    const { found, cleared } = search({ ...nobody, ...call, arguments: text, parsed }, policies);
    return {
      policies,
      args: conditionArguments(text, parsed),
      found,
      cleared: cleared === null ? parsed : cleared.value,
      failed: isJson ? null : unreadHosts(call, policies),
    };
  } catch {
    // What was thrown may quote an argument: it is not told, and nothing of the arguments is written down.
    const failed = policyError("the arguments could not be searched for data");
    return { policies, args: undefined, found: [], cleared: "[redacted]", failed };
  }
}

/** What rules for data do not look at. */
const nobody = { call: "", gateway: "", principal: "", definition: "" };

/** Where hosts are listed, and nobody can say which the arguments lead to: a refusal. */
function unreadHosts(call: Asked, policies: PolicySet): PolicyDecision | null {
  const [first] = candidatesOf(rulesFor(policies, call.agent), call).hosts;
  if (first === undefined) return null;
  const reason = `Blocked: the arguments are no JSON, and the rule ${first.label} speaks of the hosts they may lead to.`;
  return { decision: "BLOCK", rule: first.label, reason };
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
  return { ...nobody, agent, principal: by.name, ...sdkCall(action), arguments: args, parsed: undefined };
}
