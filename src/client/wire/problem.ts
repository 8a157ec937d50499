import { z } from "zod";

/** Every answer that is not a 2xx. */
export const problemWire = z
  .object({
    detail: z.union([
      z.string(),
      z.array(
        z.object({
          loc: z.array(z.union([z.string(), z.number()])),
          msg: z.string(),
          type: z.string(),
        }),
      ),
    ]),
    code: z.string().optional().meta({ description: "One of the codes of docs/errors.md." }),
    hint: z.string().optional().meta({ description: "What to do about it." }),
  })
  .meta({ description: "What was refused, and why. Nothing was changed." });

export type ProblemWire = z.infer<typeof problemWire>;

/** What a problem says, in one line. */
export function problemText({ detail }: ProblemWire): string {
  if (typeof detail === "string") return detail;
  return detail.map(({ loc, msg }) => (loc.length === 0 ? msg : `${loc.join(".")}: ${msg}`)).join("; ");
}
