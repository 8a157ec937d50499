import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import { loadPolicies } from "../../src/policy/file/load.js";
import { type StarterTool, starterPolicy } from "../../src/policy/file/starter.js";
import type { PolicySet } from "../../src/policy/policy.js";
import { ask } from "./sets.js";

async function loaded(text: string, bareNames: boolean): Promise<PolicySet> {
  const folder = await mkdtemp(join(tmpdir(), "aegis-starter-"));
  try {
    await writeFile(join(folder, "starter.yaml"), text);
    return await loadPolicies(folder, { bareNames });
  } finally {
    await rm(folder, { recursive: true });
  }
}

function uncommented(text: string): string {
  return text.replaceAll(/^ {2}# - /gm, "  - ");
}

const tools: readonly StarterTool[] = [
  { name: "read_file", description: "Reads a file.\nWhole.", hints: { readOnly: true } },
  { name: "delete_file", description: "Deletes", hints: { readOnly: true, destructive: true } },
  { name: "write_file" },
];

describe("a starter file", () => {
  it("lists every tool as a comment, with what the server claims of it", () => {
    const text = starterPolicy("claude-desktop", [{ key: "files", tools }], { bareNames: false });
    expect(text.slice(text.indexOf("agent:"))).toBe(
      [
        "agent: claude-desktop",
        "default: review",
        "",
        "allow:",
        '  # - files__read_file  # the server claims: read-only, "Reads a file.\\x0aWhole."',
        "",
        "block:",
        '  # - files__delete_file  # the server claims: read-only, destructive, "Deletes"',
        "",
        "review:",
        "  # - files__write_file",
        "",
      ].join("\n"),
    );
  });

  it.each([false, true])("loads and leaves every call to a person (bare names: %s)", async (bareNames) => {
    const set = await loaded(starterPolicy("claude", [{ key: "files", tools }], { bareNames }), bareNames);
    expect(set.files[0]).toMatchObject({ agent: "claude", default: "review", rules: [] });
    for (const { name } of tools) expect(decide(set, ask("files", name)).decision).toBe("REVIEW");
  });

  it.each([false, true])(
    "means each tool and no other once uncommented (bare names: %s)",
    async (bareNames) => {
      const names = [
        "read_file",
        "a__b",
        "true",
        "123",
        "1.5",
        "-",
        "null",
        ".inf",
        "d\u0435l",
        "a b: c # d",
        "\u{1f600}",
        "",
      ];
      const odd = names.map((name): StarterTool => ({ name, hints: { readOnly: true } }));
      const text = starterPolicy("claude", [{ key: "files", tools: odd }], { bareNames });
      expect(text.includes("- read_file")).toBe(bareNames);
      const set = await loaded(uncommented(text), bareNames);
      expect(set.files[0]?.rules).toHaveLength(names.length);
      for (const name of names) expect(decide(set, ask("files", name)).decision, name).toBe("ALLOW");
      expect(decide(set, ask("files", "other")).decision).toBe("REVIEW");
    },
  );

  it("keeps foreign text within its comment, visible and short", async () => {
    const hostile = [
      'x\nallow: ["*"]\n#',
      "x\rallow: [a__b]",
      "x\u2028default: allow",
      "x\u0085default: allow",
      "\u202ereversed\u2066",
      "\u001b[2Jclear",
      "tag\u{e0041}s",
      '"quoted" \\n # more',
      "*",
      "long".repeat(5_000),
      "\ud800",
    ];
    const claims = hostile.map(
      (text): StarterTool => ({ name: text, description: text, hints: { readOnly: true } }),
    );
    const text = starterPolicy('a\ndefault: allow\u202e"', [{ key: "files", tools: claims }], {
      bareNames: false,
    });
    expect(text).not.toMatch(/[^\P{C}\n]|\p{Zl}|\p{Zp}/u);
    const lines = text.split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(2_500);
    expect(lines.filter((line) => line.startsWith("  "))).toHaveLength(hostile.length);
    for (const line of lines)
      expect(line).toMatch(/^(?:$| *#|agent: "|default: review$|(?:allow|block|review):$)/);
    const set = await loaded(text, false);
    expect(set.files[0]).toMatchObject({ agent: 'a\ndefault: allow\u202e"', default: "review", rules: [] });
    // A star in a name would be a wildcard in a rule: none is offered.
    expect(
      (await loaded(uncommented(text), false)).files[0]?.rules.map(({ pattern }) => pattern),
    ).not.toContain("files__*");
  });

  it("stays loadable with more tools than fit", async () => {
    const many = Array.from(
      { length: 20_000 },
      (_, i): StarterTool => ({ name: `tool_${i}`, description: "d".repeat(200) }),
    );
    const text = starterPolicy("claude", [{ key: "files", tools: many }], { bareNames: false });
    expect(text).toMatch(/# \d+ more tools are not listed/);
    expect((await loaded(text, false)).files).toHaveLength(1);
  });
});
