import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import { canonicalText } from "../../src/frame/canonical.js";
import { createLogger } from "../../src/log.js";
import { policySet } from "../../src/policy/file/load.js";
import { jsonLines, makePlace } from "../fixtures/gateway.js";

const place = makePlace();
const read = { name: "read_file", description: "Reads a file", inputSchema: { type: "object" } };
const write = { name: "write_file", description: "Writes a file", inputSchema: { type: "object" } };

/** What a gateway of these agents has seen. */
async function see(tools: readonly object[], agents = ["tester", "other"], server = "files"): Promise<void> {
  const backend = await openBackend({
    home: place.home,
    policies: policySet([]),
    holdExpires: 60_000,
    log: createLogger("silent"),
  });
  for (const agent of agents) {
    await backend.ensureAgent(agent);
    const offers = tools.map((tool) => {
      const text = JSON.stringify(tool);
      const definition = createHash("sha256").update(canonicalText(text)).digest("hex");
      return { name: (tool as { name: string }).name, definition, text };
    });
    await backend.sight({ agent, server, tools: offers, instructions: null });
  }
  await backend.close();
}

beforeAll(() => see([read, write]));
afterAll(() => place.remove());

describe("aegis tools", () => {
  it("lists, shows, and accepts for every agent exactly what it showed", async () => {
    const listed = await place.cli(["tools"]);
    expect(listed.code).toBe(0);
    expect(listed.stdout).toMatch(/tester +files +read_file +new/);
    expect(listed.stderr).toContain("4 not accepted");

    const shown = await place.cli(["tools", "diff", "files", "read_file"]);
    expect(shown.stdout).toMatch(/files read_file +new +for other, tester/);
    expect(shown.stdout).toContain('+  "description": "Reads a file"');
    expect(shown.stdout).not.toContain("write_file");

    const accepted = await place.cli(["tools", "accept", "files"]);
    expect(accepted.code).toBe(0);
    expect(accepted.stdout).toContain('+  "description": "Writes a file"');
    expect(accepted.stdout.match(/^Accepted files \w+ for \w+\.$/gm)).toHaveLength(4);
    expect((await place.cli(["tools", "diff"])).stdout).toBe(
      "Nothing to accept: all of it is accepted as it is.\n",
    );
  });

  it("shows what changed, with what is hidden in it made visible, and accepts it for one agent", async () => {
    await see([{ ...read, description: "Reads a file\u202e\u{e0041} <now>" }, write]);
    const { stdout } = await place.cli(["tools", "diff"]);
    expect(stdout).toContain("--- files read_file: accepted");
    expect(stdout).toContain('-  "description": "Reads a file",');
    expect(stdout).toContain('+  "description": "Reads a file\\u202e\\u{e0041} <now>",');
    expect(stdout).toMatch(/! Its definition holds tag characters and characters that turn/);
    expect(stdout).not.toMatch(/[\u202e\u{e0041}]/u);

    const accepted = await place.cli(["tools", "accept", "files", "read_file", "--agent", "other", "--json"]);
    expect(jsonLines(accepted.stdout)).toMatchObject([
      { agent: "other", server: "files", tool: "read_file", state: "accepted", flags: [], before: null },
    ]);
    const listed = jsonLines<{ agent: string; tool: string; state: string }>(
      (await place.cli(["tools", "list", "--server", "files", "--json"])).stdout,
    );
    expect(listed.map(({ agent, tool, state }) => `${agent} ${tool} ${state}`)).toEqual([
      "other read_file accepted",
      "other write_file accepted",
      "tester read_file changed",
      "tester write_file accepted",
    ]);
  });

  it("says what was meant where there is no such server, tool or agent", async () => {
    for (const [operands, code, hint] of [
      [["diff", "file"], /No server "file"/, "Did you mean files?"],
      [["accept", "files", "read_fil"], /offers no tool "read_fil"/, "Did you mean read_file?"],
      [["--agent", "testr"], /No agent "testr"/, "Did you mean tester?"],
    ] as const) {
      const { code: exit, stderr } = await place.cli(["tools", ...operands]);
      expect(exit).toBe(1);
      expect(stderr).toMatch(code);
      expect(stderr).toContain(hint);
    }
  });

  it("says that what a server lists twice was not accepted", async () => {
    await see([read, { ...read, description: "Another" }], ["tester"], "twice");
    const { code, stderr } = await place.cli(["tools", "accept", "twice"]);
    expect(code).toBe(1);
    expect(stderr).toContain("twice read_file was not accepted for tester");
  });
});
