import { z } from "zod";
import { numberInQuery, reasonField } from "../../../client/wire/fields.js";

/** A number that may be left empty. */
const optionalNumber = z
  .union([z.literal("").transform(() => undefined), numberInQuery(1, 1_000_000)])
  .optional();

export const signInQuery = z.object({ to: z.string().optional().catch(undefined) });
export const signInBody = z.object({ token: z.string().max(16_384), to: z.string().default("") });
export const signOutBody = z.object({ form: z.string() });
export const listQuery = z.object({
  before: numberInQuery(1, Number.MAX_SAFE_INTEGER).optional().catch(undefined),
});
/** Any text: what is no number is answered like a number nobody has. */
export const pageParams = z.object({ id: z.string() });
export const decisionBody = z.object({
  form: z.string(),
  decision: z.enum(["approve", "deny", "grant"]),
  digest: z.string().max(256),
  reason: reasonField.default(""),
  uses: optionalNumber,
  minutes: optionalNumber,
});

/** The path, where it is one of our own pages; else the list: nobody is sent anywhere else (threat T18). */
export function returnPath(to: string | undefined): string {
  return to !== undefined && /^\/approvals(?:\/[1-9]\d{0,15})?$/.test(to) ? to : "/approvals";
}
