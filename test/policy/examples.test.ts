import { mkdtemp, readdir, readFile, realpath, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { describe, expect, it } from "vitest";
import { countsNeeded } from "../../src/policy/counts.js";
import { decide } from "../../src/policy/decide.js";
import { policyJsonSchema } from "../../src/policy/file/json-schema.js";
import { loadPolicies, parsePolicy } from "../../src/policy/file/load.js";
import { countKey, type PolicyDecision, type PolicySet } from "../../src/policy/policy.js";
import { checkPolicies } from "../../src/policy/trial/check.js";
import { ask } from "./sets.js";

const folder = fileURLToPath(new URL("../../policies/", import.meta.url));
const options = { bareNames: false };

/** At noon, of a tool somebody accepted, with nothing counted yet. */
function said(set: PolicySet, server: string, tool: string, args: unknown = {}): PolicyDecision {
  const question = { ...ask(server, tool), args, now: Date.UTC(2026, 0, 5, 12) };
  const counts = new Map(countsNeeded(set, question).map((key) => [countKey(key), 0]));
  return decide(set, { ...question, counts });
}

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
    for (const name of written)
      expect(await readFile(join(folder, name), "utf8")).toMatch(
        /^# yaml-language-server: \$schema=\.\/policy\.schema\.json\n/,
      );
  });

  it("let the real filesystem server be read, and hold every change for a person", async () => {
    const set = await loadPolicies(folder, options);
    const tools = await filesystemTools();
    const args = { path: "/srv/docs/report.md", paths: [], edits: [], source: "a", destination: "b" };
    const decided = (verdict: string) =>
      tools.filter((tool) => said(set, "files", tool, args).decision === verdict);
    expect(decided("REVIEW").toSorted()).toEqual([
      "create_directory",
      "edit_file",
      "move_file",
      "write_file",
    ]);
    expect(decided("BLOCK")).toEqual([]);
    expect(decided("ALLOW")).toHaveLength(tools.length - 4);
    // Each tool is named: none of the four is under review by the default alone.
    for (const tool of tools) expect(said(set, "files", tool, args).rule).not.toBeNull();
    expect(said(set, "files", "delete_file", args).decision).toBe("BLOCK");
  });

  it("let drafts be written, and no other path that looks like one (P20)", async () => {
    const set = await loadPolicies(folder, options);
    const write = (path: unknown) => said(set, "files", "write_file", { path, content: "" }).decision;
    expect(write("/srv/docs/drafts/a.md")).toBe("ALLOW");
    for (const path of [
      "/srv/docs/drafts/../secret.md",
      "/srv/docs/drafts/..%2fsecret.md",
      "/srv/docs/drafts/%2e%2e/secret.md",
      "/srv/docs/drafts/..\\secret.md",
      "/srv/docs/drafts/a.md\n",
      "/srv/docs/drafts/a\u0308.md",
      "/srv/docs/drafts/a.sh",
      "/srv/docs/draftsx/a.md",
    ])
      expect(write(path), path).toBe("REVIEW");
    for (const path of [undefined, null, 5, ["/srv/docs/drafts/a.md"]]) expect(write(path)).toBe("BLOCK");
    expect(said(set, "files", "read_text_file", { path: "/home/ada/.ssh/id_ed25519" }).decision).toBe(
      "BLOCK",
    );
  });

  it("can be approved by one person alone: whoever begins with them has nobody else yet", async () => {
    const set = await loadPolicies(folder, options);
    const found = checkPolicies(set, { approvers: [{ name: "os:ada", groups: [] }] });
    expect(found.filter(({ level }) => level === "error")).toEqual([]);
  });

  it("decide for the others as their comments say", async () => {
    const set = await loadPolicies(folder, options);
    expect(said(set, "github", "issue_read").decision).toBe("ALLOW");
    expect(said(set, "github", "issue_write").decision).toBe("REVIEW");
    expect(said(set, "github", "merge_pull_request")).toMatchObject({
      decision: "REVIEW",
      expires: 1_800_000,
      requirement: { quorum: 1, reason: true },
    });
    expect(said(set, "github", "create_pull_request", { base: "main" }).requirement?.reason).toBe(true);
    expect(said(set, "github", "create_pull_request", { base: "topic" })).not.toHaveProperty("requirement");
    expect(said(set, "github", "get_secret_scanning_alert").decision).toBe("BLOCK");
    expect(said(set, "github", "delete_file").decision).toBe("BLOCK");
    expect(said(set, "browser", "browser_snapshot").decision).toBe("ALLOW");
    expect(said(set, "browser", "browser_run_code_unsafe").decision).toBe("BLOCK");
    expect(said(set, "elsewhere", "anything").decision).toBe("REVIEW");
  });

  it("let the browser go to the sites that are listed, and nowhere near the machine", async () => {
    const set = await loadPolicies(folder, options);
    const visit = (url: string) => said(set, "browser", "browser_navigate", { url }).decision;
    expect(visit("https://en.wikipedia.org/wiki/Policy")).toBe("ALLOW");
    expect(visit("https://en.wikipedia.org/w/index.php?search=x")).toBe("REVIEW");
    for (const url of ["https://evil.com/", "http://localhost:3000", "http://0x7f.1/", "about:blank"])
      expect(visit(url), url).toBe("BLOCK");
  });

  it("let the database be asked, and not be changed without its team", async () => {
    const set = await loadPolicies(folder, options);
    const run = (sql: string) => said(set, "db", "execute_sql", { sql });
    for (const sql of ["SELECT * FROM orders WHERE id = 1;", "select\n  name from people"])
      expect(run(sql).decision, sql).toBe("ALLOW");
    for (const sql of [
      "SELECT 1; SELECT 2",
      "SELECT * INTO backup FROM people",
      "SELECT pg_sleep(100)",
      "VACUUM",
    ])
      expect(run(sql).decision, sql).toBe("REVIEW");
    expect(run("INSERT INTO people VALUES (1)").requirement).toMatchObject({ reason: true });
    expect(run("ALTER TABLE people ADD x int")).toMatchObject({
      decision: "REVIEW",
      expires: 1_800_000,
      requirement: { reason: true },
    });
    for (const sql of ["DROP TABLE people", "SELECT 1; drop table people", "DELETE FROM people"])
      expect(run(sql).decision, sql).toBe("BLOCK");
  });

  it("include the one their README shows", async () => {
    const readme = await readFile(join(folder, "README.md"), "utf8");
    const [, shown = ""] = /```yaml\n(.*?)```/s.exec(readme) ?? [];
    expect(parsePolicy(shown, "README.md", options).rules).toHaveLength(3);
  });
});

describe("the JSON Schema of the format", () => {
  it("is the one that the loader's schema makes now (npm run schema)", async () => {
    const written: unknown = JSON.parse(await readFile(join(folder, "policy.schema.json"), "utf8"));
    expect(written).toEqual(JSON.parse(JSON.stringify(policyJsonSchema())));
  });
});
