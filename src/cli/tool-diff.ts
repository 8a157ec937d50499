import { createTwoFilesPatch } from "diff";
import type { PinnedTool } from "../client/backend.js";
import { visible } from "../visible.js";
import { indentJson } from "./approvals/indent-json.js";

/** One thing to look at: what several agents are shown alike is one. */
export interface Shown {
  readonly tool: PinnedTool;
  readonly agents: readonly string[];
}

/** What somebody would have to accept, each once. */
export function pending(tools: readonly PinnedTool[]): Shown[] {
  const found = new Map<string, { tool: PinnedTool; agents: string[] }>();
  for (const tool of tools) {
    if (tool.state === "accepted" && tool.flags.length === 0) continue;
    const { server, tool: name, state, definition, before, flags } = tool;
    const key = JSON.stringify([server, name, state, definition, before?.definition ?? null, flags]);
    const known = found.get(key);
    if (known === undefined) found.set(key, { tool, agents: [tool.agent] });
    else known.agents.push(tool.agent);
  }
  return [...found.values()];
}

/** A tool as people call it; its server's instructions have no name of their own. */
export function toolName({ server, tool }: Pick<PinnedTool, "server" | "tool">): string {
  return tool === "" ? `${visible(server)} (instructions)` : `${visible(server)} ${visible(tool)}`;
}

/**
 * What changed, as a unified diff of the indented definitions. Of what was never accepted, all of it. Every character
 * that could hide something is made visible (threat D3).
 */
export function diffText(tool: PinnedTool): string {
  const name = toolName(tool);
  const now = linesOf(tool.text);
  if (tool.state === "changed" && tool.before === null) return `--- ${name}: changed, and changed back\n`;
  const before = tool.state === "changed" ? linesOf(tool.before?.text ?? "") : "";
  const from = tool.acceptedAt === null ? "seen first" : "accepted";
  const patch = createTwoFilesPatch(
    before === "" ? "/dev/null" : `${name}: ${from}`,
    `${name}: now`,
    before,
    now,
  );
  // The first line is a ruler.
  return patch.slice(patch.indexOf("\n") + 1);
}

function linesOf(text: string): string {
  return indentJson(text)
    .map((line) => `${visible(line)}\n`)
    .join("");
}
