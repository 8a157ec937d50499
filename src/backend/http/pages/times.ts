import { type Html, html } from "./html.js";

const sizes = [
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
  [1, "second"],
] as const;

/** `2026-11-23 01:14:07 UTC (3 minutes ago)`, for an ISO 8601 time. */
export function moment(iso: string, now: number): Html {
  const text = `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
  const away = Date.parse(iso) - now;
  const span = spanOf(Math.abs(away));
  return html`<time datetime="${iso}">${text}</time> <span class="soft">(${away < 0 ? `${span} ago` : `in ${span}`})</span>`;
}

/** `5 minutes`, `3 hours`: of milliseconds, rounded down to what a person wants to know. */
export function spanOf(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  for (const [size, name] of sizes) {
    // Ninety minutes say more than one hour.
    if (seconds >= 2 * size || (size === 1 && seconds >= 0)) {
      const count = Math.floor(seconds / size);
      return `${count} ${name}${count === 1 ? "" : "s"}`;
    }
  }
  return "no time";
}
