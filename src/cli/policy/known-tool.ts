import { existsSync } from "node:fs";
import { join } from "node:path";
import type { PinnedTool } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { sdkServer } from "../../names.js";
import type { ToolFacts } from "../../policy/policy.js";
import { chooseBackend } from "../backend-choice.js";
import { type CommonOptions, type Context, withBackend } from "../context.js";

/** What a decision would know of a tool; null where only a guess is possible, with a sentence that says so. */
export type KnownTool =
  | { readonly facts: ToolFacts; readonly unknown: null }
  | { readonly facts: null; readonly unknown: string };

/** Asks the backend what is pinned of a tool. Where there is none yet, none is made to ask it. */
export async function knownTool(
  context: Context,
  options: CommonOptions,
  { agent, server, tool }: Pick<PinnedTool, "agent" | "server" | "tool">,
): Promise<KnownTool> {
  if (server === sdkServer)
    return { facts: { state: "accepted", suspicious: null, claims: {} }, unknown: null };
  const guess = (why: string): KnownTool => ({
    facts: null,
    unknown: `As if the tool were accepted: ${why}`,
  });
  try {
    const choice = await chooseBackend(options.backend, context.env, context.home);
    if (choice === null && !existsSync(join(context.home, "aegis.db")))
      return guess("there is no backend here yet.");
    const tools = await withBackend(context, options, ({ backend }) =>
      backend.pinnedTools({ agent, server }),
    );
    const facts = factsOf(tools, tool);
    return facts === null ? guess("its server has shown this agent no tools yet.") : { facts, unknown: null };
  } catch (thrown) {
    if (!(thrown instanceof AegisError)) throw thrown;
    return guess(`the backend cannot be asked. ${thrown.message}`);
  }
}

/** As the backend tells a decision of a call with the definition that was seen last. */
function factsOf(tools: readonly PinnedTool[], name: string): ToolFacts | null {
  if (tools.length === 0) return null;
  const said = tools.find(({ tool }) => tool === "");
  const pinned = tools.find(({ tool }) => tool === name);
  const flags = [pinned, said].flatMap((each) => each?.flags ?? []);
  return {
    state: said?.state === "changed" ? "changed" : (pinned?.state ?? "added"),
    suspicious: flags.length === 0 ? null : flags.map((flag) => flag.replace(/\.$/, "")).join("; "),
    claims: pinned === undefined ? {} : claimsIn(pinned.text),
  };
}

function claimsIn(text: string): ToolFacts["claims"] {
  if (text === "") return {};
  const tool: unknown = JSON.parse(text);
  if (typeof tool !== "object" || tool === null || !Object.hasOwn(tool, "annotations")) return {};
  const { annotations } = tool as { readonly annotations: unknown };
  if (typeof annotations !== "object" || annotations === null || Array.isArray(annotations)) return {};
  return annotations as ToolFacts["claims"];
}
