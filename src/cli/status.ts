import type { Agent } from "../client/backend.js";
import { visible } from "../visible.js";
import { type CommonOptions, type Context, requireAgent, withBackend } from "./context.js";
import { agentJson } from "./json.js";
import { type Output, relativeTime, styleOf } from "./output.js";

/** `aegis status [AGENT]`: who is governed, who is stopped, and which gateways live. */
export async function run(
  context: Context,
  options: CommonOptions,
  [name]: readonly string[],
): Promise<number> {
  const { out } = context;
  return withBackend(context, options, async ({ backend }) => {
    if (name !== undefined) {
      await requireAgent(backend, name);
      const agent = (await backend.agents()).find((known) => known.name === name);
      if (agent !== undefined) printOne(out, agent);
      return 0;
    }
    const agents = await backend.agents();
    if (out.json) {
      for (const agent of agents) out.document(agentJson(agent));
      return 0;
    }
    if (agents.length === 0) out.line("No agent has been seen yet: it appears with its first connection.");
    else printTable(out, agents);
    const gateways = await backend.gateways();
    out.line();
    if (gateways.length === 0) out.line("No live gateway.");
    for (const { pid, label, address, startedAt } of gateways) {
      const where = address === null ? "stdio" : visible(address);
      out.line(`Live gateway: ${visible(label)}, ${where}, pid ${pid}, started ${relativeTime(startedAt)}`);
    }
    out.line(`Backend: ${visible(backend.description)}`);
    return 0;
  });
}

function printOne(out: Output, agent: Agent): void {
  if (out.json) {
    out.document(agentJson(agent));
    return;
  }
  out.line(`${visible(agent.name)}  ${out.style(styleOf(agent.status), agent.status)}`);
  if (agent.killed !== null) {
    const { by, at, reason } = agent.killed;
    out.line(`  killed ${relativeTime(at)} by ${visible(by)}${reason === "" ? "" : `: ${visible(reason)}`}`);
  }
  if (agent.owner !== "") out.line(`  owner ${visible(agent.owner)}`);
  out.line(`  first seen ${relativeTime(agent.createdAt)}`);
  out.line(`  allowed ${agent.allowed}, blocked ${agent.blocked}, held ${agent.held}`);
}

function printTable(out: Output, agents: readonly Agent[]): void {
  out.table(
    ["AGENT", "STATUS", "ALLOWED", "BLOCKED", "HELD", "SINCE"],
    agents.map((agent) => [
      visible(agent.name),
      { text: agent.status, style: styleOf(agent.status) },
      String(agent.allowed),
      String(agent.blocked),
      String(agent.held),
      agent.killed === null
        ? `seen ${relativeTime(agent.createdAt)}`
        : `killed ${relativeTime(agent.killed.at)} by ${visible(agent.killed.by)}`,
    ]),
  );
}
