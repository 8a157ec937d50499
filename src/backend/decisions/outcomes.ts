import type { Outcome } from "../../client/backend.js";
import type { Approvals } from "../approvals/approvals.js";
import type { Batch } from "../batch.js";
import { type Entry, outcomeKey } from "../ledger/record.js";
import { recordName, redactText } from "../ledger/redact.js";
import type { Statement, Store } from "../store/store.js";
import type { RunningCalls } from "./running-calls.js";

/** How calls ended. */
export class Outcomes {
  private readonly select: Statement;

  constructor(
    { writer }: Store,
    private readonly approvals: Approvals,
    private readonly running: RunningCalls,
  ) {
    this.select = writer.prepare("SELECT key, body FROM ledger WHERE key IN (?, ?)");
  }

  /** What a gateway of this process says. */
  async append(batch: Batch, entry: Entry, { agent, call }: Pick<Outcome, "agent" | "call">): Promise<void> {
    batch.records.append(entry);
    batch.ended.push(call);
    await this.running.end(batch, agent, call);
  }

  /**
   * What was said over the API: it counts where the call was decided for that agent and principal, and once. Whoever
   * guesses the id of another's call must not end it in the ledger. Its call waits on no approval any more: one whose
   * gateway lost the answer would hold it against every repeat for as long as that gateway lives.
   */
  async accept(batch: Batch, outcome: Outcome): Promise<void> {
    const { call } = outcome;
    const ended = outcomeKey(call);
    const found = (await this.select.all(call, ended)) as Array<{ key: string; body: string }>;
    // Others of this transaction may have said something of the call that is not written yet.
    const decided = found.find(({ key }) => key === call)?.body ?? batch.records.queued(call);
    if (decided === undefined) return;
    if (found.some(({ key }) => key === ended) || batch.records.queued(ended) !== undefined) return;
    const { agent, principal, decision, approval } = JSON.parse(decided) as Record<string, unknown>;
    if (agent !== outcome.agent || principal !== outcome.principal) return;
    if (decision === "REVIEW" && typeof approval === "number") await this.approvals.detach(approval, call);
    await this.append(batch, outcomeEntry(outcome), outcome);
  }
}

export function outcomeEntry(ended: Outcome): Entry {
  const { agent, principal, call, outcome, approval } = ended;
  return {
    kind: "outcome",
    agent: recordName(agent),
    principal: recordName(principal),
    server: recordName(ended.server),
    tool: recordName(ended.tool),
    action: recordName(ended.action),
    call,
    outcome,
    duration: Number.isFinite(ended.duration) ? ended.duration : 0,
    ...(ended.reason === undefined ? undefined : { reason: redactText(ended.reason) }),
    ...(approval === undefined ? undefined : { approval }),
  };
}
