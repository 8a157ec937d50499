import * as z from "zod";
import { dataEffects, detectorNames } from "../../data/rules.js";
import { linearTest, regexProblem } from "../../linear-regex.js";
import { hostPattern } from "../host-names.js";
import { actionPattern, amount, duration, reason, shadow, text } from "./schema-terms.js";

/** One entry of `limits`. */
export function limitSchema(bareNames: boolean) {
  return z
    .strictObject(
      {
        action: actionPattern(bareNames),
        calls: amount(1_000_000)
          .meta({ description: "Calls that are let through in each window." })
          .optional(),
        per: duration(31).meta({ description: "The window, such as 1h." }).optional(),
        concurrent: amount(10_000).meta({ description: "Calls that run at the same time." }).optional(),
        reason,
        shadow,
      },
      { error: "a mapping with action and either calls and per, or concurrent" },
    )
    .superRefine(({ calls, per, concurrent }, context) => {
      const windowed = calls !== undefined && per !== undefined && concurrent === undefined;
      const running = concurrent !== undefined && calls === undefined && per === undefined;
      if (!windowed && !running)
        context.addIssue({
          code: "custom",
          message: "either calls and per, such as {calls: 20, per: 1h}, or concurrent alone",
        });
    });
}

const expectedHost =
  'the name of a host such as api.github.com or "*.example.com", without scheme, port and path';

/** `servers`: where URLs in arguments may lead. */
export function serversSchema(bareNames: boolean) {
  const host = text(expectedHost).transform((value, context) => {
    const normal = hostPattern(value);
    if (normal !== null) return normal;
    context.issues.push({ code: "custom", input: value, message: expectedHost });
    return z.NEVER;
  });
  const entry = z.union(
    [host, z.strictObject({ host, action: actionPattern(bareNames).optional(), reason, shadow })],
    { error: `${expectedHost}, or a mapping with host and, where wanted, action and reason` },
  );
  const entries = z.array(entry, { error: "a list of hosts" }).nullish();
  return z.strictObject(
    { allow: entries, block: entries },
    { error: "a mapping with the lists allow and block" },
  );
}

const places = ["arguments", "results"] as const;
const place = z.enum(places, { error: "arguments or results" });

/** The word of the format. Nothing awaits the shape of a schema. */
// oxlint-disable-next-line unicorn/no-thenable
const effectKey = "then";

/** One entry of `data`. */
export function dataSchema(bareNames: boolean) {
  return z
    .strictObject(
      {
        detect: z.enum(detectorNames, { error: detectorNames.join(", ") }),
        in: z
          .union([place, z.array(place, { error: "a list" }).min(1, { error: "arguments or results" })], {
            error: "arguments, results, or a list of both",
          })
          .optional(),
        [effectKey]: z.enum(dataEffects, { error: "block, review or redact" }),
        action: actionPattern(bareNames).optional(),
        name: z
          .string({ error: "a name" })
          .regex(/^[A-Za-z0-9_.-]{1,40}$/, { error: "a name of 1 to 40 characters of A-Z a-z 0-9 _ . -" })
          .optional(),
        pattern: text("a regular expression")
          .superRefine((value, context) => {
            const problem = regexProblem(value);
            const message =
              problem !== null
                ? `a regular expression of RE2: ${problem}`
                : linearTest(value, "")
                  ? "a regular expression that does not find the empty text"
                  : null;
            if (message !== null) context.addIssue({ code: "custom", message });
          })
          .optional(),
        reason,
        shadow,
      },
      { error: "a mapping with detect and then" },
    )
    .superRefine(({ detect, name, pattern }, context) => {
      const whole = name !== undefined && pattern !== undefined;
      if (detect === "custom" && !whole)
        context.addIssue({ code: "custom", message: "name and pattern beside detect: custom" });
      if (detect !== "custom" && (name !== undefined || pattern !== undefined))
        context.addIssue({ code: "custom", message: "name and pattern beside detect: custom only" });
    });
}
