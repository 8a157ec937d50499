import type { Intent } from "../../client/backend.js";
import type { DataRule } from "../../data/rules.js";
import { reasonOf } from "../../errors.js";
import { conditionArguments } from "../../policy/arguments.js";
import { countsNeeded } from "../../policy/counts.js";
import type { CountKey, PolicyDecision, PolicySet, ToolFacts } from "../../policy/policy.js";
import { redactArguments } from "../ledger/redact.js";
import type { PathRedaction } from "../ledger/redact-paths.js";
import type { Digester } from "./digest.js";
import { type Searched, search } from "./found-data.js";
import { type Judged, judge, policyError } from "./judgement.js";

/** An intent whose arguments may have been redacted for the ledger already, where they were parsed. */
export type PreparedIntent = Intent & { readonly redacted?: string };

/** A call with all that can be known of it without the store. */
export interface Prepared extends Judged {
  readonly asked: PreparedIntent;
  /** The call as it is decided, shown, recorded and forwarded: data rules may have redacted its arguments. */
  readonly intent: Intent;
  readonly found: readonly DataRule[];
  /** Null where the arguments cannot be read. */
  readonly digest: string | null;
  /** For the ledger; null where the call has no arguments. */
  readonly redacted: string | null;
  /** The counts that its decision depends on. */
  readonly needs: readonly CountKey[];
  /** What policy says of it if the tool is still as `facts` say and nothing else matters; null where that is not known. */
  readonly ahead: { readonly said: PolicyDecision; readonly facts: ToolFacts } | null;
  /** Why it can not be asked about at all. */
  readonly failed: PolicyDecision | null;
}

/** A call as of the transaction that decides it. */
export interface Current extends Prepared {
  readonly said: PolicyDecision;
  /** Which pinning of the tool it is; null where tools are not pinned. */
  readonly version: number | null;
}

export interface PreparationParts {
  readonly digester: Digester;
  /** The configured paths; the patterns come first. */
  readonly redactPaths: PathRedaction;
  readonly now: () => number;
}

/** Tools remembered; one that is not is judged in the transaction. */
const remembered = 1_024;

/** The work of a decision that needs no transaction, so that nobody waits for it. */
export class Preparation {
  /** What the newest transaction knew of a tool: it mostly is what the next one finds. */
  private readonly facts = new Map<string, ToolFacts>();

  constructor(private readonly parts: PreparationParts) {}

  prepare(asked: PreparedIntent, policies: PolicySet): Prepared {
    const { digester } = this.parts;
    const args = once(() => conditionArguments(asked.arguments, argumentsOf(asked)));
    const call = { asked, intent: asked as Intent, policies, args };
    let digest: string;
    try {
      digest = digester.digest(asked);
    } catch (thrown) {
      const reason = `Blocked: the arguments cannot be read (${reasonOf(thrown)}).`;
      return this.unreadable({ ...call, failed: { decision: "BLOCK", rule: null, reason } });
    }
    let searched: Searched;
    try {
      searched = search(asked, policies);
    } catch {
      // What was thrown may quote an argument: it is not told, and nothing of the arguments is written down.
      const failed = policyError("the arguments could not be searched for data");
      return { ...this.unreadable({ ...call, failed }), redacted: '"[redacted]"' };
    }
    const { found, intent, cleared } = searched;
    const redacted =
      cleared === null ? this.redacted(asked) : this.parts.redactPaths(redactArguments(cleared.value));
    if (intent === asked) return this.judged({ ...call, found, digest, redacted });
    const changed = { intent, args: once(() => conditionArguments(intent.arguments, intent.parsed)) };
    return this.judged({ ...call, ...changed, found, digest: digester.digest(intent), redacted });
  }

  /** What is known of a tool at this moment. */
  learn(intent: Intent, facts: ToolFacts): void {
    if (this.facts.size >= remembered) this.facts.clear();
    this.facts.set(keyOf(intent), facts);
  }

  private judged(call: Omit<Prepared, "needs" | "ahead" | "failed">): Prepared {
    const { intent, policies } = call;
    const needs = intent.stage === "result" ? [] : countsNeeded(policies, intent);
    const facts = this.facts.get(keyOf(intent));
    if (facts === undefined || needs.length > 0) return { ...call, needs, ahead: null, failed: null };
    const situation = { facts, now: this.parts.now(), counts: noCounts, declared: [] };
    return { ...call, needs, ahead: { said: judge(call, situation), facts }, failed: null };
  }

  private unreadable(call: Pick<Prepared, "asked" | "intent" | "policies" | "args" | "failed">): Prepared {
    return { ...call, found: [], needs: [], ahead: null, digest: null, redacted: this.redacted(call.asked) };
  }

  private redacted(intent: PreparedIntent): string | null {
    if (intent.arguments === "") return null;
    return this.parts.redactPaths(intent.redacted ?? redactArguments(intent.parsed));
  }
}

export const noCounts: ReadonlyMap<string, number> = new Map();

export function sameFacts(one: ToolFacts, other: ToolFacts): boolean {
  return one.state === other.state && one.suspicious === other.suspicious && one.claims === other.claims;
}

function keyOf({ agent, server, tool, definition }: Intent): string {
  return `${agent}\n${server}\n${tool}\n${definition}`;
}

function argumentsOf(intent: Intent): unknown {
  return intent.arguments === "" ? {} : intent.parsed;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
