import type { PinnedTool, ToolState } from "../client/backend.js";

/**
 * What decisions go by, of tools that were read together: where the instructions of a server changed, every tool of it
 * did.
 */
export function effectiveStates(tools: readonly PinnedTool[]): (tool: PinnedTool) => ToolState {
  const keyOf = ({ agent, server }: PinnedTool): string => JSON.stringify([agent, server]);
  const changed = new Set(tools.filter(({ tool, state }) => tool === "" && state === "changed").map(keyOf));
  return (tool) => (changed.has(keyOf(tool)) ? "changed" : tool.state);
}
