import type { Backend, PinnedTool, ToolFilter, ToolState } from "../client/backend.js";
import { AegisError } from "../errors.js";
import { nearest } from "../suggest.js";
import { visible } from "../visible.js";
import { confirmed } from "./confirm.js";
import { type Command, type CommonOptions, type Context, requireAgent, withBackend } from "./context.js";
import type { Output } from "./output.js";
import { relativeTime } from "./output.js";
import { diffText, pending, type Shown, toolName } from "./tool-diff.js";
import { effectiveStates } from "./tool-states.js";

interface ListOptions extends CommonOptions {
  readonly agent?: string;
  readonly server?: string;
}

interface AgentOption extends CommonOptions {
  readonly agent?: string;
}

interface AcceptOptions extends AgentOption {
  readonly yes?: boolean;
}

/** `aegis tools`: what servers offer, and what nobody has accepted. */
export const list: Command<ListOptions> = {
  async run(context, options) {
    const { out } = context;
    const { agent, server } = options;
    return withBackend(context, options, async ({ backend }) => {
      const tools = await find(backend, agent, server, undefined);
      const stateOf = effectiveStates(tools);
      if (out.json)
        for (const tool of tools)
          out.document({ ...(toolJson(tool) as object), effective_state: stateOf(tool) });
      else if (tools.length === 0) out.line("No server has shown its tools yet.");
      else table(out, tools, stateOf);
      const open = tools.filter(({ state, flags }) => state !== "accepted" || flags.length > 0);
      if (!out.json && open.length > 0) {
        out.say(
          `${open.length} not accepted: \`aegis tools diff\` shows them, \`aegis tools accept SERVER\` accepts.`,
        );
        if (open.some(({ tool, state }) => tool === "" && state === "changed"))
          out.say("Where the instructions of a server changed, all of its tools count as changed.");
      }
      return 0;
    });
  },
};

/** `aegis tools diff [SERVER [TOOL]]`. */
export const diff: Command<AgentOption> = {
  async run(context, options, [server, tool]) {
    return withBackend(context, options, async ({ backend }) => {
      const shown = pending(await find(backend, options.agent, server, tool));
      show(context, shown);
      return 0;
    });
  },
};

/** `aegis tools accept SERVER [TOOL]`: exactly what it shows, whatever the server offers a moment later. */
export const accept: Command<AcceptOptions> = {
  async run(context, options, [server = "", tool]) {
    const { out } = context;
    const { agent } = options;
    return withBackend(context, options, async ({ backend, by }) => {
      const shown = pending(await find(backend, agent, server, tool));
      if (!out.json) show(context, shown);
      if (shown.length === 0) return 0;
      const kept = "Nothing was accepted";
      if (
        options.yes !== true &&
        !(await confirmed(out, `Accept ${counted(shown)} as shown?`, `${kept}: nobody can be asked here.`))
      ) {
        out.say(`${kept}.`);
        return 1;
      }
      // By what was shown, not by name: the instructions of its server may be with the tool that was named.
      const definitions = [...new Set(shown.map((each) => each.tool.definition))];
      const accepted = await backend.acceptTools(filterOf(agent, server), definitions, by);
      if (out.json) for (const each of accepted) out.document(toolJson(each));
      else for (const each of accepted) out.line(`Accepted ${toolName(each)} for ${visible(each.agent)}.`);
      return left(out, shown, accepted);
    });
  },
};

function counted({ length }: readonly Shown[]): string {
  return length === 1 ? "this" : `these ${length}`;
}

/** What was shown and is not accepted: it changed in between, or its server defines it twice. */
function left(out: Output, shown: readonly Shown[], accepted: readonly PinnedTool[]): number {
  const done = new Set(accepted.map(keyOf));
  const open = shown.flatMap(({ tool, agents }) => agents.map((agent) => ({ ...tool, agent })));
  const kept = open.filter((tool) => !done.has(keyOf(tool)));
  for (const tool of kept) {
    out.warn(
      `${toolName(tool)} was not accepted for ${tool.agent}: it has changed since it was shown, or its server lists it ` +
        "more than once. Look again with `aegis tools diff`.",
    );
  }
  return kept.length === 0 ? 0 : 1;
}

function keyOf({ agent, server, tool, definition }: PinnedTool): string {
  return JSON.stringify([agent, server, tool, definition]);
}

function show({ out }: Context, shown: readonly Shown[]): void {
  if (shown.length === 0 && !out.json) out.line("Nothing to accept: all of it is accepted as it is.");
  for (const { tool, agents } of shown) {
    if (out.json) {
      out.document({ ...(toolJson(tool) as object), agents, diff: diffText(tool) });
      continue;
    }
    const state = tool.state === "accepted" ? "accepted, and flagged since" : tool.state;
    out.line(
      `${out.style("bold", toolName(tool))}  ${out.style("yellow", state)}  for ${agents.map(visible).join(", ")}`,
    );
    for (const flag of tool.flags) out.line(out.style("red", `! ${visible(flag)}`));
    for (const line of diffText(tool).trimEnd().split("\n")) out.line(coloured(out, line));
    out.line();
  }
}

function coloured(out: Output, line: string): string {
  if (line.startsWith("+")) return out.style("green", line);
  return line.startsWith("-") ? out.style("red", line) : line;
}

function table(out: Output, tools: readonly PinnedTool[], stateOf: (tool: PinnedTool) => ToolState): void {
  out.table(
    ["AGENT", "SERVER", "TOOL", "STATE", "SINCE", "FLAGS"],
    tools.map((tool) => [
      visible(tool.agent),
      visible(tool.server),
      tool.tool === "" ? "(instructions)" : visible(tool.tool),
      { text: stateOf(tool), style: styleOf(stateOf(tool), tool.flags) },
      relativeTime(tool.acceptedAt ?? tool.changedAt),
      visible(tool.flags.join(" ")) || "-",
    ]),
  );
}

function styleOf(state: ToolState, flags: readonly string[]): "green" | "yellow" | "red" {
  if (state === "changed" || flags.length > 0) return "red";
  return state === "accepted" ? "green" : "yellow";
}

/**
 * What was meant, or an error that says what is near. With a tool come the instructions of its server where they hold it
 * back: to accept the tool alone would not help.
 *
 * @throws AegisError unknown_agent, unknown_tool
 */
async function find(
  backend: Backend,
  agent: string | undefined,
  server: string | undefined,
  tool: string | undefined,
): Promise<readonly PinnedTool[]> {
  const offered = await backend.pinnedTools(filterOf(agent, server));
  const named = tool === undefined ? offered : offered.filter((each) => each.tool === tool);
  const found =
    named.length === 0 ? named : offered.filter((each) => named.includes(each) || holdsBack(each));
  if (found.length > 0 || (agent === undefined && server === undefined)) return found;
  if (agent !== undefined) await requireAgent(backend, agent);
  const all = await backend.pinnedTools(filterOf(agent));
  if (server === undefined) return all;
  const servers = all.map((each) => each.server);
  if (!servers.includes(server))
    throw unknown(`No server "${visible(server)}" has shown its tools`, server, servers);
  const names = all.filter((each) => each.server === server).map((each) => each.tool);
  throw unknown(`The server "${visible(server)}" offers no tool "${visible(tool ?? "")}"`, tool ?? "", names);
}

function holdsBack({ tool, state, flags }: PinnedTool): boolean {
  return tool === "" && (state === "changed" || flags.length > 0);
}

function unknown(sentence: string, word: string, known: readonly string[]): AegisError {
  const meant = nearest(word, known);
  return new AegisError("unknown_tool", `${sentence}.`, {
    hint: meant === null ? "List them: aegis tools" : `Did you mean ${visible(meant)}?`,
  });
}

function filterOf(agent?: string, server?: string): ToolFilter {
  return {
    ...(agent === undefined ? {} : { agent }),
    ...(server === undefined ? {} : { server }),
  };
}

/** The shape of `--json`, which scripts rely on. The definitions are JSON text, as their server wrote them. */
function toolJson(tool: PinnedTool): unknown {
  return {
    agent: tool.agent,
    server: tool.server,
    tool: tool.tool,
    state: tool.state,
    flags: tool.flags,
    definition: tool.definition,
    text: tool.text,
    before: tool.before,
    seen_at: tool.seenAt,
    changed_at: tool.changedAt,
    accepted_at: tool.acceptedAt,
    accepted_by: tool.acceptedBy,
  };
}
