import type { Intent } from "../../client/backend.js";
import { findInJson, redactJson } from "../../data/redact-json.js";
import type { DataRule } from "../../data/rules.js";
import { AegisError } from "../../errors.js";
import { dataRulesFor } from "../../policy/data.js";
import type { PolicySet } from "../../policy/policy.js";
import { withoutParsed } from "./unread-intent.js";

/** A call, or its answer, after the rules for data have looked at it. */
export interface Searched {
  /** What they found in it as it came. */
  readonly found: readonly DataRule[];
  /** As it is decided, shown, digested and forwarded: the very same where nothing was redacted. */
  readonly intent: Intent;
  /** Parsed, without anything they found: what the ledger's form is made of. Null where they found nothing. */
  readonly cleared: { readonly value: unknown } | null;
}

const before = '{"result":';

/** @throws where it cannot be searched: nothing of it is to be let through, or written down */
export function search(asked: Intent, policies: PolicySet): Searched {
  const where = asked.stage === "result" ? "results" : "arguments";
  const rules = asked.arguments === "" ? [] : dataRulesFor(policies, asked, where);
  const found = rules.length === 0 ? [] : findInJson(lookedAt(asked), rules);
  if (found.length === 0) return { found, intent: asked, cleared: null };
  const redacting = found.filter(({ effect }) => effect === "redact");
  const text = redacting.length === 0 ? asked.arguments : redactedText(asked, redacting);
  const intent =
    text === asked.arguments ? asked : { ...withoutParsed(asked), arguments: text, parsed: JSON.parse(text) };
  return { found, intent, cleared: { value: JSON.parse(redactedText(asked, found)) } };
}

/** The result alone, not the member that holds it. */
function lookedAt({ stage, arguments: text }: Intent): string {
  if (stage !== "result") return text;
  if (text.startsWith(before) && text.endsWith("}")) return text.slice(before.length, -1);
  throw new AegisError("usage", 'A result is asked about as {"result":…}.');
}

function redactedText(asked: Intent, rules: readonly DataRule[]): string {
  const redacted = redactJson(lookedAt(asked), rules);
  return asked.stage === "result" ? `${before}${redacted}}` : redacted;
}
