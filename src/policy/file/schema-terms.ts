import * as z from "zod";
import { durationExamples, parseDuration } from "../../duration.js";
import { channels } from "../../requirement.js";
import { conditionProblem } from "../condition.js";

/** Longest pattern and longest reason, in characters: an action is a server key and a tool name of at most 128. */
const longest = 1_000;

const day = 86_400_000;

export const expectedPattern = 'a pattern such as "files__read_*"';

export function text(expected: string) {
  return z.string({ error: expected }).refine((value) => value !== "" && value.length <= longest, {
    error: `${expected}, of 1 to ${longest} characters`,
  });
}

/** Of actions. `bareNames`: one server is governed (`wrap`), so a pattern may be a tool's own name. */
export function actionPattern(bareNames: boolean) {
  return z
    .string({ error: expectedPattern })
    .superRefine((value, context) => {
      const message = patternProblem(value, bareNames);
      if (message !== null) context.addIssue({ code: "custom", message });
    })
    .meta({ description: "An action, server__tool; * is any run of characters." });
}

function patternProblem(pattern: string, bareNames: boolean): string | null {
  if (pattern === "") return expectedPattern;
  if (pattern.length > longest) return `a pattern of at most ${longest} characters`;
  if (bareNames || pattern === "*" || pattern.includes("__")) return null;
  const shown = pattern.slice(0, 80);
  return `a pattern that names the server too: "files__${shown}" for one server, "*__${shown}" for all`;
}

/** A duration of more than nothing, in milliseconds, and at most so many days. */
export function duration(days: number) {
  return text("a duration such as 30m").transform((value, context) => {
    const milliseconds = parseDuration(value);
    if (milliseconds !== null && milliseconds > 0 && milliseconds <= days * day) return milliseconds;
    const message = `a duration of more than nothing and at most ${days}d, such as ${durationExamples}`;
    context.issues.push({ code: "custom", input: value, message });
    return z.NEVER;
  });
}

/** A whole number from 1 up. */
export function amount(greatest: number) {
  const expected = `a whole number from 1 to ${greatest}`;
  return z.int({ error: expected }).min(1, { error: expected }).max(greatest, { error: expected });
}

export const reason = text("a sentence")
  .meta({ description: "What the model and the approver are told." })
  .optional();

export const shadow = z
  .boolean({ error: "true or false" })
  .meta({ description: "Decides and is recorded, but is not enforced." })
  .optional();

/** Where in an expression a problem is, for `problems.ts`. */
export interface ExpressionIssue {
  readonly offset: number;
}

export const when = text('a condition such as "args.amount <= 100.0"')
  .superRefine((value, context) => {
    if (value === "" || value.length > longest) return;
    const problem = conditionProblem(value);
    if (problem === null) return;
    context.addIssue({
      code: "custom",
      message: `a condition in CEL: ${problem.message}`,
      params: { offset: problem.offset } satisfies ExpressionIssue,
    });
  })
  .meta({
    description:
      "A condition in CEL over args, agent, server, tool, client, now and calls. False: no such rule.",
  })
  .optional();

const grant = z.strictObject(
  {
    uses: amount(1_000),
    expires: duration(30),
    arguments: z
      .record(text("the name of an argument"), text("a pattern such as /srv/docs/*"), {
        error: "a mapping of patterns by argument",
      })
      .optional()
      // Written by its name it would be the prototype of whatever holds it (threat P8).
      .refine((value) => value === undefined || !Object.hasOwn(value, "__proto__"), {
        error: "arguments of other names",
      }),
  },
  { error: "a mapping such as {uses: 5, expires: 30m}" },
);

/** What a review rule may ask of its approvals. */
export const approval = z.strictObject(
  {
    approvers: z
      .array(text("the name of a group"), { error: "a list of groups" })
      .min(1, { error: "at least one group" })
      .meta({ description: "Groups: whoever approves is in one of them." })
      .optional(),
    quorum: amount(100).meta({ description: "Distinct people who must approve." }).optional(),
    reason: z.literal("required", { error: "required, or no such key" }).optional(),
    expires: duration(365).optional(),
    channels: z
      .array(z.enum(channels, { error: "cli, page or client" }), { error: "a list of cli, page and client" })
      .min(1, { error: "at least one of cli, page and client" })
      .optional(),
    grant: grant.meta({ description: "What an approver may let through ahead of its coming." }).optional(),
  },
  { error: "a mapping such as {expires: 30m}" },
);
