/** What is looked for in arguments and results. `custom` has a pattern of its own. */
export const detectorNames = ["secrets", "card_numbers", "national_ids", "custom"] as const;

export type DetectorName = (typeof detectorNames)[number];

/** What happens where something is found, the strongest first. */
export const dataEffects = ["block", "review", "redact"] as const;

export type DataEffect = (typeof dataEffects)[number];

/** One entry of `data`, as far as whoever looks for it needs to know. Plain data: it travels to gateways. */
export interface DataRule {
  /** As decisions name it: `file.yaml:12 data secrets`. */
  readonly rule: string;
  readonly detect: DetectorName;
  /** What a person calls it: the detector's name, or that of a custom pattern. Redacted text becomes `[name]`. */
  readonly name: string;
  /** Custom only: a regular expression in the syntax of RE2. */
  readonly pattern: string | null;
  readonly effect: DataEffect;
  readonly reason: string | null;
}
