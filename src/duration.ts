const units: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/** What people write where a duration is asked for; the tail of every error about one. */
export const durationExamples = "250ms, 45s, 10m, 1h or 7d";

/** The longest delay a Node timer takes (2^31 - 1 ms, 24.8 days): one over it fires at once. */
export const longestTimer = 2_147_483_647;

/**
 * Milliseconds of `250ms`, `45s`, `10m`, `1h`, `7d`: a whole number and a unit, nothing else. Null for any other text,
 * and for more than 100 years.
 */
export function parseDuration(text: string): number | null {
  const [, digits, unit] = /^(\d{1,15})(ms|s|m|h|d)$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined) return null;
  const milliseconds = Number(digits) * (units.get(unit) ?? Number.NaN);
  return milliseconds <= 100 * 365 * 86_400_000 ? milliseconds : null;
}

/** The shortest exact way to write it: 90000 → `90s`, 3600000 → `1h`. */
export function formatDuration(milliseconds: number): string {
  const whole = Math.round(milliseconds);
  const fitting = [...units].toReversed().find(([, size]) => whole >= size && whole % size === 0);
  return fitting === undefined ? `${whole}ms` : `${whole / fitting[1]}${fitting[0]}`;
}
