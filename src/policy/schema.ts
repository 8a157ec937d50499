import * as z from "zod";
import { durationExamples, parseDuration } from "../duration.js";
import type { List } from "./policy.js";

/** Longest pattern and longest reason, in characters: an action is a server key and a tool name of at most 128. */
const longest = 1_000;

/** What may be written for each list. The aliases are the words of the Python SDK. */
export const listOf: ReadonlyMap<string, List> = new Map([
  ["allow", "allow"],
  ["allows", "allow"],
  ["allowed_actions", "allow"],
  ["block", "block"],
  ["blocks", "block"],
  ["blocked_actions", "block"],
  ["review", "review"],
  ["requires_review", "review"],
]);

/** Parts of the format that a later version understands: refused, never passed over, since each makes a rule narrower. */
export const unsupportedKeys: ReadonlySet<string> = new Set([
  "when",
  "limits",
  "servers",
  "data",
  "shadow",
  "approvers",
  "quorum",
  "channels",
]);

const expectedPattern = 'a pattern such as "files__read_*"';

function text(expected: string) {
  return z.string({ error: expected }).refine((value) => value !== "" && value.length <= longest, {
    error: `${expected}, of 1 to ${longest} characters`,
  });
}

function patternProblem(pattern: string, bareNames: boolean): string | null {
  if (pattern === "") return expectedPattern;
  if (pattern.length > longest) return `a pattern of at most ${longest} characters`;
  if (bareNames || pattern === "*" || pattern.includes("__")) return null;
  const shown = pattern.slice(0, 80);
  return `a pattern that names the server too: "files__${shown}" for one server, "*__${shown}" for all`;
}

/** Longest time an approval may be left open (ms): a year. */
const longestExpiry = 365 * 86_400_000;

const expires = text("a duration such as 30m").transform((value, context) => {
  const milliseconds = parseDuration(value);
  if (milliseconds !== null && milliseconds > 0 && milliseconds <= longestExpiry) return milliseconds;
  const message = `a duration of more than nothing and at most 365d, such as ${durationExamples}`;
  context.issues.push({ code: "custom", input: value, message });
  return z.NEVER;
});

/**
 * The shape of one policy file. Each `error` says what was expected in a place; `parse.ts` adds where and what was
 * found. `bareNames`: one server is governed (`wrap`), so a pattern may be a tool's own name.
 */
export function policySchema({ bareNames }: { readonly bareNames: boolean }) {
  const pattern = z.string({ error: expectedPattern }).superRefine((value, context) => {
    const message = patternProblem(value, bareNames);
    if (message !== null) context.addIssue({ code: "custom", message });
  });
  const reason = text("a sentence").optional();
  const expectedEntry = `${expectedPattern}, or a mapping with action and, where wanted, reason`;
  const entry = z.union([pattern, z.strictObject({ action: pattern, reason })], { error: expectedEntry });
  const approval = z.strictObject(
    { expires: expires.optional() },
    { error: "a mapping such as {expires: 30m}" },
  );
  const reviewEntry = z.union(
    [pattern, z.strictObject({ action: pattern, reason, approval: approval.optional() })],
    { error: `${expectedEntry} and approval` },
  );
  // A key with nothing behind it is an empty list: what the starter file has before its first line is uncommented.
  const entries = z.array(entry, { error: "a list of patterns" }).nullish();
  const reviewEntries = z.array(reviewEntry, { error: "a list of patterns" }).nullish();
  return z.strictObject(
    {
      agent: text('the name of an agent, or a pattern such as "claude-*"'),
      owner: text("a name").optional(),
      default: z.enum(["review", "block", "allow"], { error: "review, block or allow" }).optional(),
      allow: entries,
      allows: entries,
      allowed_actions: entries,
      block: entries,
      blocks: entries,
      blocked_actions: entries,
      review: reviewEntries,
      requires_review: reviewEntries,
    },
    { error: "a mapping with agent and the lists allow, block and review" },
  );
}

const fileKeys = ["agent", "owner", "default", "allow", "block", "review"];
const entryKeys = ["action", "reason"];

/** The keys that may stand in the mapping at `path`, as an error lists them. */
export function keysAt(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 0) return fileKeys;
  if (path.length > 2) return ["expires"];
  return listOf.get(String(path[0])) === "review" ? [...entryKeys, "approval"] : entryKeys;
}
