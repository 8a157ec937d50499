import { AegisError } from "../errors.js";
import { visible } from "../visible.js";
import { type Command, type CommonOptions, type Context, withBackend } from "./context.js";
import { approvalJson } from "./json.js";
import { relativeTime, styleOf, terminalJson } from "./output.js";

interface Options extends CommonOptions {
  readonly reason: string;
}

/** `aegis approve ID`. */
export const approve: Command<Options> = {
  run: (context, options, [id = ""]) => decide(context, options, readId(id), "approved"),
};

/** `aegis deny ID`. */
export const deny: Command<Options> = {
  run: (context, options, [id = ""]) => decide(context, options, readId(id), "denied"),
};

/** @throws AegisError usage */
export function readId(text: string): number {
  const id = /^#?(\d{1,15})$/.exec(text)?.[1];
  if (id !== undefined) return Number(id);
  throw new AegisError("usage", `"${visible(text)}" is not an id.`, {
    hint: "Ids are whole numbers, such as 7.",
  });
}

async function decide(
  context: Context,
  options: Options,
  id: number,
  verdict: "approved" | "denied",
): Promise<number> {
  const { out } = context;
  return withBackend(context, options, async ({ backend, by }) => {
    const approval = await backend.decideApproval(id, verdict, by, options.reason);
    if (out.json) {
      out.line(terminalJson(approvalJson(approval)));
      return 0;
    }
    const done = out.style(styleOf(verdict), verdict === "approved" ? "Approved" : "Denied");
    const next =
      verdict === "denied"
        ? "it does not run"
        : approval.waiting
          ? "the waiting call goes on, once"
          : `its caller is gone; the same call, repeated before it expires (${relativeTime(approval.expiresAt)}), runs once`;
    out.line(`${done} #${id}, ${visible(approval.action)} by agent ${visible(approval.agent)}: ${next}.`);
    return 0;
  });
}
