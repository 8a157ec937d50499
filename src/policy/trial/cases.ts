import * as z from "zod";
import { durationExamples, parseDuration } from "../../duration.js";
import { channels } from "../../requirement.js";
import { type Problem, readDocument } from "../file/document.js";
import { problemsOf } from "../file/problems.js";

const decision = z.enum(["ALLOW", "BLOCK", "REVIEW"], { error: "ALLOW, BLOCK or REVIEW" });
const word = (expected: string) => z.string({ error: expected }).min(1, { error: expected });
const count = z.number({ error: "a whole number" }).int({ error: "a whole number" }).min(0);
const duration = z
  .string({ error: `a duration such as ${durationExamples}` })
  .refine((value) => parseDuration(value) !== null, { error: `a duration such as ${durationExamples}` });
const names = z.array(z.string({ error: "a name" }), { error: "a list of names" });
const mapping = z.record(z.string(), z.unknown(), { error: "a mapping" });

const call = z.strictObject(
  {
    action: word("an action such as files__read_text_file"),
    args: z
      .union([z.string({ error: "JSON text" }), mapping], { error: "a mapping, or JSON text" })
      .optional()
      .meta({ description: "The arguments; as JSON text where a number is larger than YAML can hold." }),
    result: z
      .unknown()
      .optional()
      .meta({ description: "The server's answer: rules for data in results are asked." }),
    client: z
      .strictObject({ name: z.string(), version: z.string().default("") }, { error: "a mapping with name" })
      .optional()
      .meta({ description: "What the client calls itself." }),
    tool: z
      .strictObject(
        {
          state: z.enum(["accepted", "new", "added", "changed"]).default("accepted"),
          claims: mapping.default({}).meta({ description: "The server's annotations of the tool." }),
          suspicious: word("a sentence").nullable().default(null),
        },
        { error: "a mapping with state or claims" },
      )
      .optional()
      .meta({ description: "An accepted tool that claims nothing, if left out." }),
    now: z
      .string({ error: "a time such as 2026-01-05T10:00:00Z" })
      .refine((value) => !Number.isNaN(Date.parse(value)), { error: "a time such as 2026-01-05T10:00:00Z" })
      .optional(),
    counts: z
      .array(
        z.union(
          [
            z.strictObject({ action: z.string(), calls: count, per: duration }),
            z.strictObject({ action: z.string(), concurrent: count }),
          ],
          { error: "a mapping with action, calls and per, or with action and concurrent" },
        ),
        { error: "a list of counts" },
      )
      .default([])
      .meta({
        description: "Calls that were let through before, as limits and `calls` count them; else none were.",
      }),
  },
  { error: "a mapping with action and, where wanted, args" },
);

const expected = z.union(
  [
    decision,
    z.strictObject({
      decision,
      rule: z
        .string()
        .nullable()
        .optional()
        .meta({ description: "`file.yaml:3 allow x__y`, or its end; null where a default decides." }),
      reason: z.string().optional().meta({ description: "A part of the reason." }),
      error: z.boolean().optional().meta({ description: "A condition could not be evaluated." }),
      approvers: names.optional().meta({ description: "Groups, of all rules together." }),
      quorum: count.optional(),
      channels: z.array(z.enum(channels)).optional(),
      expires: duration.optional(),
      grant: z
        .boolean()
        .optional()
        .meta({ description: "Whether an approver may grant more than this call." }),
      args: z.unknown().optional().meta({ description: "What is forwarded, where a rule for data redacts." }),
      result: z.unknown().optional().meta({ description: "What the client sees of the result." }),
      shadow: decision
        .nullable()
        .optional()
        .meta({ description: "What rules in shadow would have made of it." }),
    }),
  ],
  { error: "ALLOW, BLOCK or REVIEW, or a mapping with decision" },
);

/** The shape of a file of cases for `aegis policy test`. */
export const casesSchema = z.strictObject(
  {
    policies: z.union([word("a file or a folder"), z.array(word("a file or a folder")).min(1)], {
      error: "a file or a folder, or a list of them",
    }),
    agent: word("an agent").optional().meta({ description: "Of every case that names none." }),
    tests: z
      .array(
        z.strictObject(
          { name: word("a name"), agent: word("an agent").optional(), call, expect: expected },
          { error: "a mapping with name, call and expect" },
        ),
        { error: "a list of cases" },
      )
      .min(1, { error: "at least one case" }),
  },
  { error: "a mapping with policies and tests" },
);

/** The same as a JSON Schema, for editors. */
export function casesJsonSchema(): object {
  const schema = z.toJSONSchema(casesSchema, { io: "input", target: "draft-7" });
  return { title: "Cases for aegis policy test", ...schema };
}

type Written = z.output<typeof casesSchema>;
export type Case = Written["tests"][number] & { readonly line: number };
export type Cases = Omit<Written, "tests"> & { readonly tests: readonly Case[] };

/** Whether this is the text of a policy: it names an agent, and neither cases nor policies to ask. */
export function isPolicyText(text: string): boolean {
  const document = readDocument(text);
  if (!("value" in document)) return false;
  const { value } = document;
  if (typeof value !== "object" || value === null) return false;
  return "agent" in value && !("tests" in value) && !("policies" in value);
}

/** Reads the text of a file of cases, or says everything that is wrong with it. */
export function readCases(
  text: string,
): { readonly cases: Cases } | { readonly problems: readonly Problem[] } {
  const document = readDocument(text);
  if (!("value" in document)) return { problems: document };
  const result = casesSchema.safeParse(document.value);
  if (result.success) {
    const tests = result.data.tests.map((test, index) => ({
      ...test,
      line: document.positionOf(["tests", index]).line,
    }));
    return { cases: { ...result.data, tests } };
  }
  const problems = result.error.issues.flatMap((issue): Problem[] => {
    if (issue.code !== "unrecognized_keys") return problemsOf(issue, [], document);
    return issue.keys.map((key) => ({
      ...document.positionOfKey(issue.path, key),
      message: `found the unknown key ${JSON.stringify(key.slice(0, 60))}`,
    }));
  });
  return { problems: problems.toSorted((a, b) => a.line - b.line || a.column - b.column) };
}
