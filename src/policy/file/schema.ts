import * as z from "zod";
import type { List } from "../policy.js";
import { dataSchema, limitSchema, serversSchema } from "./schema-dimensions.js";
import { actionPattern, approval, expectedPattern, reason, shadow, text, when } from "./schema-terms.js";

/** What may be written for each list. The aliases are the words of the Python SDK. */
export const listOf = new Map([
  ["allow", "allow"],
  ["allows", "allow"],
  ["allowed_actions", "allow"],
  ["block", "block"],
  ["blocks", "block"],
  ["blocked_actions", "block"],
  ["review", "review"],
  ["requires_review", "review"],
] as const) satisfies ReadonlyMap<string, List>;

const verdicts = ["review", "block", "allow"] as const;

/**
 * The shape of one policy file. Each `error` says what was expected in a place; `problems.ts` adds where and what was
 * found. `bareNames`: one server is governed (`wrap`), so a pattern may be a tool's own name.
 */
export function policySchema({ bareNames }: { readonly bareNames: boolean }) {
  const action = actionPattern(bareNames);
  const expectedEntry = `${expectedPattern}, or a mapping with action and, where wanted, when and reason`;
  const entry = z.union([action, z.strictObject({ action, when, reason, shadow })], { error: expectedEntry });
  const reviewEntry = z.union(
    [action, z.strictObject({ action, when, reason, shadow, approval: approval.optional() })],
    { error: `${expectedEntry} and approval` },
  );
  // A key with nothing behind it is an empty list: what the starter file has before its first line is uncommented.
  const entries = z.array(entry, { error: "a list of patterns" }).nullish();
  const reviewEntries = z.array(reviewEntry, { error: "a list of patterns" }).nullish();
  const verdict = z.enum(verdicts, { error: "review, block or allow" });
  return z.strictObject(
    {
      agent: text('the name of an agent, or a pattern such as "claude-*"'),
      owner: text("a name").optional(),
      default: verdict.meta({ description: "What no rule matches; review if left out." }).optional(),
      on_change: verdict
        .meta({ description: "Calls of tools that nobody has accepted as they are; review if left out." })
        .optional(),
      shadow,
      allow: entries,
      allows: entries,
      allowed_actions: entries,
      block: entries,
      blocks: entries,
      blocked_actions: entries,
      review: reviewEntries,
      requires_review: reviewEntries,
      limits: z.array(limitSchema(bareNames), { error: "a list of limits" }).nullish(),
      servers: serversSchema(bareNames).nullish(),
      data: z.array(dataSchema(bareNames), { error: "a list of rules for data" }).nullish(),
    },
    { error: "a mapping with agent and the lists allow, block and review" },
  );
}

/** One policy file, its texts not read yet. */
export type WrittenPolicy = z.output<ReturnType<typeof policySchema>>;

const fileKeys = [
  "agent",
  "owner",
  "default",
  "on_change",
  "shadow",
  "allow",
  "block",
  "review",
  "limits",
  "servers",
  "data",
];
const entryKeys = ["action", "when", "reason", "shadow"];

/** The keys that may stand in the mapping at `path`, as an error lists them. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  const [top, , , ...inner] = path.map(String);
  if (top === undefined) return fileKeys;
  if (top === "limits") return ["action", "calls", "per", "concurrent", "reason", "shadow"];
  if (top === "data") return ["detect", "in", "then", "action", "name", "pattern", "reason", "shadow"];
  if (top === "servers")
    return path.length === 1 ? ["allow", "block"] : ["host", "action", "reason", "shadow"];
  if (inner.length > 0) return ["uses", "expires", "arguments"];
  if (path.length === 3) return ["approvers", "quorum", "reason", "expires", "channels", "grant"];
  return top === "review" || top === "requires_review" ? [...entryKeys, "approval"] : entryKeys;
}
