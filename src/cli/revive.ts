import { visible } from "../visible.js";
import { type CommonOptions, type Context, withBackend } from "./context.js";

interface Options extends CommonOptions {
  readonly reason: string;
}

/** `aegis revive AGENT`: its next call is decided as before the kill; what was held then stays ended. */
export async function run(
  context: Context,
  options: Options,
  [agent = ""]: readonly string[],
): Promise<number> {
  const { out } = context;
  return withBackend(context, options, async ({ backend, by }) => {
    const before = (await backend.agents()).find((known) => known.name === agent);
    await backend.revive(agent, by, options.reason);
    const already = before?.status === "ACTIVE";
    if (out.json) out.document({ agent, status: "ACTIVE", already, backend: backend.description });
    else if (already) out.line(`${visible(agent)} was not killed: nothing changed.`);
    else
      out.line(
        `${out.style("green", "Revived")} ${visible(agent)}: its next call is decided by policy again.`,
      );
    return 0;
  });
}
