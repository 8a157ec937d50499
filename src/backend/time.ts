/** Milliseconds since the epoch as the interface writes them: ISO 8601, UTC, with milliseconds. */
export function isoTime(time: number): string {
  return new Date(time).toISOString();
}
