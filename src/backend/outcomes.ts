import type { Outcome } from "../client/backend.js";
import type { Batch } from "./batch.js";
import { type Entry, outcomeKey } from "./ledger/record.js";
import { recordName, redactText } from "./ledger/redact.js";
import type { Statement, Store } from "./store/store.js";

/** How calls ended. */
export class Outcomes {
  private readonly select: Statement;

  constructor({ writer }: Store) {
    this.select = writer.prepare("SELECT key, body FROM ledger WHERE key IN (?, ?)");
  }

  /** What a gateway of this process says. */
  append(batch: Batch, entry: Entry, call: string): void {
    batch.records.append(entry);
    batch.ended.push(call);
  }

  /**
   * What was said over the API: it counts where the call was decided for that agent and principal, and once. Whoever
   * guesses the id of another's call must not end it in the ledger.
   */
  async accept(batch: Batch, outcome: Outcome): Promise<void> {
    // An outcome of this call may stand in the same transaction, not yet written.
    await batch.records.flush();
    const ended = outcomeKey(outcome.call);
    const found = (await this.select.all(outcome.call, ended)) as Array<{ key: string; body: string }>;
    const decided = found.find(({ key }) => key === outcome.call);
    if (decided === undefined || found.length > 1) return;
    const { agent, principal } = JSON.parse(decided.body) as Record<string, unknown>;
    if (agent !== outcome.agent || principal !== outcome.principal) return;
    this.append(batch, outcomeEntry(outcome), outcome.call);
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
