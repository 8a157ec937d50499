import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { repository } from "./fixtures/servers.js";

/** The rows of the threat model that must hold: the number of rows of each group, without those that only should. */
const groups: ReadonlyArray<readonly [group: string, rows: number, should: readonly number[]]> = [
  ["P", 28, [19, 27]],
  ["A", 28, [16, 18, 22, 24]],
  ["K", 14, [12]],
  ["L", 20, [13, 17, 18]],
  ["T", 18, [10, 13, 17]],
  ["D", 19, [5, 17, 18, 19]],
  ["R", 12, [10]],
  ["U", 11, [6, 8, 9, 11]],
  ["S", 9, [4, 7, 9]],
  ["C", 11, [9]],
];
const must = groups.flatMap(([group, rows, should]) =>
  Array.from({ length: rows }, (_, index) => index + 1)
    .filter((row) => !should.includes(row))
    .map((row) => `${group}${row}`),
);

const page = readFileSync(`${repository}/docs/threats.md`, "utf8");
const [covered = "", uncovered = ""] = page.split("## Without a test yet");
const cells = (text: string): string[][] =>
  [...text.matchAll(/^\| ([A-Z]\d+) +\|(.*)\|$/gm)].map(([, row = "", rest = ""]) => [
    row,
    ...rest.split(" | ").map((cell) => cell.trim()),
  ]);

describe("the page of threats", () => {
  it("has every row that must hold, once", () => {
    const rows = [...cells(covered), ...cells(uncovered)].map(([row]) => row);
    expect(rows.toSorted()).toEqual(must.toSorted());
  });

  it.each(cells(covered))("shows %s by tests that exist", (_row, what = "", shown = "") => {
    expect(what).not.toBe("");
    const tests = shown.split("<br>");
    for (const test of tests) {
      const [, file = "", title = ""] = /^`([a-z0-9./-]+)` (.+)$/.exec(test) ?? [];
      const path = `${repository}/test/${file}.test.ts`;
      expect(existsSync(path), `${test}: no such file`).toBe(true);
      expect(readFileSync(path, "utf8"), `${test}: no such test`).toContain(title);
    }
  });

  it.each(cells(uncovered))("says why %s has none", (_row, why = "") => {
    expect(why.length).toBeGreaterThan(20);
  });
});
