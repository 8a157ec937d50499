import { z } from "zod";
import { isCallId, longestName, nameProblem } from "../../names.js";

/** Half of a surrogate pair: UTF-8 cannot write it, and a store would keep something else. */
const loneSurrogate = /\p{Cs}/u;
const loneSurrogates = /\p{Cs}/gu;

/** The name of something of ours: what is compared, shown and stored. */
export const nameField = z
  .string()
  .superRefine((name, context) => {
    const problem = nameProblem(name);
    if (problem !== null)
      context.addIssue({ code: "custom", message: `The name ${problem}.`, continue: false });
  })
  .meta({ description: `1 to ${longestName} visible characters in Unicode normal form C.`, minLength: 1 });

export const callField = z
  .string()
  .refine(isCallId, { error: "The id of a call is 1 to 256 printable ASCII characters." })
  .meta({ description: "The id of the call, unique for ever; begins with the id of its gateway." });

/** Foreign text: of any characters, but such as can be written in UTF-8. */
export function textField(most: number): z.ZodString {
  return z
    .string()
    .max(most)
    .refine((text) => !loneSurrogate.test(text), { error: "The text holds half of a surrogate pair." });
}

/** Characters of a reason that are read; the ledger keeps fewer. */
export const longestReason = 16_384;
/** Characters of a foreign name, such as a server gives its tools: what can be no name here is refused by policy. */
export const longestForeignName = 1_024;

export const reasonField = textField(longestReason);
export const foreignNameField = textField(longestForeignName);

/** Foreign text as `textField(most)` takes it: what is too long is cut off, halves of pairs are replaced. */
export function fitting(text: string, most: number): string {
  return text.slice(0, most).replace(loneSurrogates, "\ufffd");
}

/** Numbers of rows: they increase, and the first is 1. */
export const idField = z.int().min(1);
/** Where somebody has read to: 0 is before the first. */
export const positionField = z.int().min(0);
export const countField = z.int().min(0);
export const timeField = z.string().meta({ description: "ISO 8601, UTC, with milliseconds." });
export const hashField = z.string().meta({ description: "SHA-256 as hexadecimal digits." });

/** A whole number in a query. */
export function numberInQuery(least: number, most: number): z.ZodType<number, string> {
  return z
    .string()
    .regex(/^\d{1,16}$/, { error: "Not a whole number." })
    .transform(Number)
    .pipe(z.int().min(least).max(most));
}

/** The answer of what has nothing to say. */
export const nothingWire = z.object({});
/** The body of what is asked without any. */
export const noBody = z.strictObject({}).nullish();
export const noQuery = z.strictObject({});
