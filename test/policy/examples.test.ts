import { mkdtemp, readdir, readFile, realpath, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { describe, expect, it } from "vitest";
import { decide } from "../../src/policy/decide.js";
import { loadPolicies, parsePolicy } from "../../src/policy/load.js";
import { ask } from "./sets.js";

const folder = fileURLToPath(new URL("../../policies/", import.meta.url));
const options = { bareNames: false };

/** The tools of the real filesystem server, asked of it. */
async function filesystemTools(): Promise<string[]> {
  const scratch = await realpath(await mkdtemp(join(tmpdir(), "aegis-examples-")));
  const server = createRequire(import.meta.url).resolve(
    "@modelcontextprotocol/server-filesystem/dist/index.js",
  );
  const client = new Client({ name: "test", version: "1" });
  try {
    await client.connect(
      new StdioClientTransport({ command: process.execPath, args: [server, scratch], stderr: "ignore" }),
    );
    return (await client.listTools()).tools.map(({ name }) => name);
  } finally {
    await client.close();
    await rm(scratch, { recursive: true });
  }
}

describe("the shipped examples", () => {
  it("all load, together and from one folder", async () => {
    const written = (await readdir(folder)).filter((name) => name.endsWith(".yaml"));
    const { files } = await loadPolicies(folder, options);
    expect(files).toHaveLength(written.length);
    expect(written).toContain("filesystem.yaml");
    for (const { agent, rules } of files) {
      expect(agent).toBe("*");
      expect(rules.length).toBeGreaterThan(5);
    }
  });

  it("let the real filesystem server be read, and hold every change for a person", async () => {
    const set = await loadPolicies(folder, options);
    const tools = await filesystemTools();
    const decided = (verdict: string) =>
      tools.filter((tool) => decide(set, ask("files", tool)).decision === verdict);
    expect(decided("REVIEW").toSorted()).toEqual([
      "create_directory",
      "edit_file",
      "move_file",
      "write_file",
    ]);
    expect(decided("BLOCK")).toEqual([]);
    expect(decided("ALLOW")).toHaveLength(tools.length - 4);
    // Each tool is named: none of the four is under review by the default alone.
    for (const tool of tools) expect(decide(set, ask("files", tool)).rule).not.toBeNull();
    expect(decide(set, ask("files", "delete_file")).decision).toBe("BLOCK");
  });

  it("decide for the others as their comments say", async () => {
    const set = await loadPolicies(folder, options);
    expect(decide(set, ask("github", "issue_read")).decision).toBe("ALLOW");
    expect(decide(set, ask("github", "issue_write")).decision).toBe("REVIEW");
    expect(decide(set, ask("github", "merge_pull_request"))).toMatchObject({
      decision: "REVIEW",
      expires: 1_800_000,
    });
    expect(decide(set, ask("github", "get_secret_scanning_alert")).decision).toBe("BLOCK");
    expect(decide(set, ask("github", "delete_file")).decision).toBe("BLOCK");
    expect(decide(set, ask("browser", "browser_snapshot")).decision).toBe("ALLOW");
    expect(decide(set, ask("browser", "browser_navigate")).decision).toBe("REVIEW");
    expect(decide(set, ask("browser", "browser_run_code_unsafe")).decision).toBe("BLOCK");
    expect(decide(set, ask("elsewhere", "anything")).decision).toBe("REVIEW");
  });

  it("include the one their README shows", async () => {
    const readme = await readFile(join(folder, "README.md"), "utf8");
    const [, shown = ""] = /```yaml\n(.*?)```/s.exec(readme) ?? [];
    expect(parsePolicy(shown, "README.md", options).rules).toHaveLength(3);
  });
});
