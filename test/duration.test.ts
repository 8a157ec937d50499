import { expect, it } from "vitest";
import { formatDuration, parseDuration } from "../src/duration.js";

it.each([
  ["250ms", 250],
  ["45s", 45_000],
  ["10m", 600_000],
  ["1h", 3_600_000],
  ["7d", 604_800_000],
  ["0s", 0],
])("reads %s as %i ms", (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds);
});

it.each([
  "",
  "5",
  "s",
  "1.5h",
  "-1s",
  "+1s",
  " 1s",
  "1s ",
  "1 s",
  "1S",
  "1h30m",
  "1w",
  "1s\n",
  "99999999999d",
  "٣s",
])("does not read %j", (text) => {
  expect(parseDuration(text)).toBeNull();
});

it("writes what it reads", () => {
  for (const text of ["250ms", "45s", "10m", "1h", "7d", "90s", "0ms"]) {
    expect(formatDuration(parseDuration(text) ?? -1)).toBe(text);
  }
});
