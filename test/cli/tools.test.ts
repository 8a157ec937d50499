import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalText } from "../../src/frame/canonical.js";
import { jsonLines, makePlace, openBeside } from "../fixtures/gateway.js";

const place = makePlace();
const read = { name: "read_file", description: "Reads a file", inputSchema: { type: "object" } };
const write = { name: "write_file", description: "Writes a file", inputSchema: { type: "object" } };

/** What a gateway of these agents has seen. */
async function see(
  tools: readonly object[],
  agents = ["tester", "other"],
  server = "files",
  said: string | null = null,
): Promise<void> {
  const backend = await openBeside(place);
  for (const agent of agents) {
    await backend.ensureAgent(agent);
    const offers = tools.map((tool) => {
      const text = JSON.stringify(tool);
      const definition = createHash("sha256").update(canonicalText(text)).digest("hex");
      return { name: (tool as { name: string }).name, definition, text };
    });
    await backend.sight({ agent, server, tools: offers, instructions: said });
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

    expect((await place.cli(["doctor"])).stdout).toMatch(
      /note +tools +4 of 4 are not accepted: `aegis tools diff`/,
    );
    const asked = await place.cli(["tools", "accept", "files"]);
    expect(asked.code).toBe(2);
    expect(asked.stdout).toContain('+  "description": "Writes a file"');
    expect(asked.stderr).toContain("--yes");
    expect((await place.cli(["tools"])).stderr).toContain("4 not accepted");

    const accepted = await place.cli(["tools", "accept", "files", "--yes"]);
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

    const other = "tools accept files read_file --agent other --json --yes";
    const accepted = await place.cli(other.split(" "));
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

  it("shows and accepts the instructions that hold a tool back together with it", async () => {
    await see([read, write], ["tester"], "told", "Be nice");
    expect((await place.cli(["tools", "accept", "told", "--yes"])).code).toBe(0);
    await see([read, write], ["tester"], "told", "Be rude");
    const states = async (): Promise<string[]> =>
      jsonLines<{ tool: string; state: string; effective_state: string }>(
        (await place.cli(["tools", "--server", "told", "--json"])).stdout,
      ).map(({ tool, state, effective_state }) => `${tool} ${state} ${effective_state}`);
    expect(await states()).toEqual([
      " changed changed",
      "read_file accepted changed",
      "write_file accepted changed",
    ]);
    const listed = await place.cli(["tools", "--server", "told"]);
    expect(listed.stdout).toMatch(/read_file +changed/);
    expect(listed.stderr).toContain("all of its tools count as changed");

    const { stdout } = await place.cli(["tools", "diff", "told", "read_file"]);
    expect(stdout).toMatch(/told \(instructions\) +changed/);
    expect(stdout).toContain('+"Be rude"');
    const accepted = await place.cli(["tools", "accept", "told", "read_file", "--yes"]);
    expect(accepted.code).toBe(0);
    expect(accepted.stdout).toContain("Accepted told (instructions) for tester.");
    expect(await states()).toEqual([
      " accepted accepted",
      "read_file accepted accepted",
      "write_file accepted accepted",
    ]);
  });

  it("accepts the tool that is named, and no other", async () => {
    await see([read, write], ["tester"], "some");
    await place.cli(["tools", "accept", "some", "read_file", "--yes"]);
    const listed = await place.cli(["tools", "--server", "some"]);
    expect(listed.stdout).toMatch(/read_file +accepted/);
    expect(listed.stdout).toMatch(/write_file +new/);
  });

  it("says that what a server lists twice was not accepted", async () => {
    await see([read, { ...read, description: "Another" }], ["tester"], "twice");
    const { code, stderr } = await place.cli(["tools", "accept", "twice", "--yes"]);
    expect(code).toBe(1);
    expect(stderr).toContain("twice read_file was not accepted for tester");
  });
});
