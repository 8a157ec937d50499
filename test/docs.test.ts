import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { loadConfig } from "../src/config-file.js";
import { errorCodes } from "../src/errors.js";
import { rpcCodes } from "../src/frame/types.js";
import { parsePolicy } from "../src/policy/file/load.js";
import { readCases } from "../src/policy/trial/cases.js";

const root = join(import.meta.dirname, "..");
const pages = [
  "README.md",
  "policies/README.md",
  ...readdirSync(join(root, "docs")).map((page) => `docs/${page}`),
];
const scratch = mkdtempSync(join(tmpdir(), "aegis-docs-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const read = (page: string): string => readFileSync(join(root, page), "utf8");

/** The code blocks of a language in all pages. */
function blocks(language: string): { page: string; text: string }[] {
  return pages.flatMap((page) =>
    [...read(page).matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((match) => ({
      page,
      text: match[1] ?? "",
    })),
  );
}

/** Commands in code blocks and in single quotes of prose, without their operands. */
function commands(page: string): string[][] {
  const text = read(page);
  const fenced = [...text.matchAll(/^```\n(.*?)^```/gms)].flatMap((match) => (match[1] ?? "").split("\n"));
  const quoted = [...text.matchAll(/`((?:aegis|sentinel) [^`]+)`/g)].map((match) => match[1] ?? "");
  return [...fenced, ...quoted]
    .filter((line) => /^(aegis|sentinel) /.test(line))
    .map((line) =>
      line
        .replace(/ -- .*/, "")
        .split(/\s+/)
        .slice(1),
    );
}

describe("every YAML example loads", () => {
  test.each(blocks("yaml"))("in $page", async ({ page, text }) => {
    if (/^(allow|block|review|default):/m.test(text)) {
      expect(parsePolicy(text, page, { bareNames: false }).agent).not.toBe("");
      return;
    }
    if (/^tests:/m.test(text)) {
      expect(readCases(text)).toHaveProperty("cases");
      return;
    }
    const file = join(scratch, "aegis.yaml");
    writeFileSync(file, text);
    const config = await loadConfig(file, { GITHUB_TOKEN: "x" });
    expect(config.servers.size).toBeGreaterThan(0);
  });
});

test("every JSON example is JSON", () => {
  for (const { text } of blocks("json")) expect(typeof JSON.parse(text)).toBe("object");
});

test("every command and flag that is named exists", () => {
  const help = (words: string[]): string =>
    execFileSync(process.execPath, [join(root, "dist/cli/main.js"), ...words, "--help"], {
      encoding: "utf8",
    });
  const top = help([]);
  const seen = new Map<string, string>();
  for (const page of pages) {
    for (const words of commands(page)) {
      const path = words.filter((word, index) => index < 2 && /^[a-z]+$/.test(word));
      const [name = ""] = path;
      expect(top, `${page}: aegis ${words.join(" ")}`).toContain(` ${name}`);
      const nested = ["audit", "grants", "policy", "token"].includes(name) ? path : [name];
      const key = nested.join(" ");
      const text = seen.get(key) ?? help(nested);
      seen.set(key, text);
      for (const flag of words.join(" ").match(/--[a-z][a-z-]*/g) ?? []) {
        expect(text, `${page}: aegis ${words.join(" ")}`).toContain(flag);
      }
    }
  }
  expect(seen.size).toBeGreaterThan(8);
});

test("every script that is named exists", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  for (const page of [...pages, "CONTRIBUTING.md"]) {
    for (const [, name = ""] of read(page).matchAll(/npm run ([a-z]+)/g))
      expect(Object.keys(scripts)).toContain(name);
  }
});

test("the table of errors is the table in the code, both ways", () => {
  const text = read("docs/errors.md");
  const listed = [...text.matchAll(/^\| `(\w+)` *\| (.*?) *\|$/gm)].map(([, code = "", meaning = ""]) => [
    code,
    meaning,
  ]);
  expect(Object.fromEntries(listed)).toEqual(errorCodes);
  const wire = [...text.matchAll(/^\| (-\d+) *\|/gm)].map(([, code]) => Number(code));
  expect(new Set(wire)).toEqual(new Set(Object.values(rpcCodes)));
});

test("links lead to files", () => {
  for (const page of [...pages, "CONTRIBUTING.md"]) {
    for (const [, target = ""] of read(page).matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
      expect(() => readFileSync(join(root, page, "..", target)), `${page}: ${target}`).not.toThrow(/ENOENT/);
    }
  }
});
