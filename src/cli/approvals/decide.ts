import type { Approval, Backend, DecisionOptions, Grant } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { visible } from "../../visible.js";
import { type Command, type CommonOptions, type Context, withBackend } from "../context.js";
import { approvalJson } from "../json.js";
import { relativeTime, styleOf, terminalJson } from "../output.js";
import { allGrant, coverText, missingText, onlyOnceText } from "./requirement-text.js";

interface Options extends CommonOptions {
  readonly reason: string;
}

interface ApproveOptions extends Options {
  readonly grant?: boolean;
  readonly uses?: number;
  /** Milliseconds. */
  readonly for?: number;
}

/** `aegis approve ID`. */
export const approve: Command<ApproveOptions> = {
  run: (context, options, [id = ""]) => decide(context, options, readId(id), "approved", grantOf(options)),
};

/** `aegis deny ID`. */
export const deny: Command<Options> = {
  run: (context, options, [id = ""]) => decide(context, options, readId(id), "denied", {}),
};

/** @throws AegisError usage */
export function readId(text: string): number {
  const id = /^#?(\d{1,15})$/.exec(text)?.[1];
  if (id !== undefined) return Number(id);
  throw new AegisError("usage", `"${visible(text)}" is not an id.`, {
    hint: "Ids are whole numbers, such as 7.",
  });
}

function grantOf({ grant, uses, for: expires }: ApproveOptions): DecisionOptions {
  if (grant !== true) {
    if (uses === undefined && expires === undefined) return {};
    throw new AegisError("usage", "--uses and --for are about a grant, and --grant is not there.", {
      hint: "Add --grant to let calls like this one through ahead of their coming, or leave them out.",
    });
  }
  return {
    grant: { ...(uses === undefined ? {} : { uses }), ...(expires === undefined ? {} : { expires }) },
  };
}

async function decide(
  context: Context,
  options: Options,
  id: number,
  verdict: "approved" | "denied",
  how: DecisionOptions,
): Promise<number> {
  const { out } = context;
  return withBackend(context, options, async ({ backend, by }) => {
    const approval = await backend.decideApproval(id, verdict, by, options.reason, {
      ...how,
      channel: "cli",
    });
    const grant = how.grant === undefined ? null : await grantWith(backend, id);
    if (out.json) {
      const beside = how.grant === undefined ? {} : { grant: grant?.id ?? null };
      out.line(terminalJson(approvalJson(approval, beside)));
      return 0;
    }
    const call = `${visible(approval.action)} by agent ${visible(approval.agent)}`;
    const what = `#${id}, ${approval.stage === "result" ? "the result of " : ""}${call}`;
    const ungranted = ungrantedText(approval, verdict, how.grant !== undefined && grant === null);
    if (verdict === "approved" && approval.status === "pending") {
      const { votes, requirement } = approval;
      out.line(
        `${out.style("yellow", "Counted")} for ${what}: ${votes.length} of ${requirement.quorum} approvals; ` +
          `${missingText(approval)} before it expires (${relativeTime(approval.expiresAt)}).`,
      );
      if (ungranted !== null) out.line(ungranted);
      return 0;
    }
    const done = out.style(styleOf(verdict), verdict === "approved" ? "Approved" : "Denied");
    out.line(`${done} ${what}${nextText(verdict, approval)}.`);
    if (ungranted !== null) out.line(ungranted);
    if (grant !== null) {
      const { uses } = grant;
      out.line(
        `${out.style("green", "Granted")} ${uses} more such ${uses === 1 ? "call" : "calls"}, until it expires ` +
          `(${relativeTime(grant.expiresAt)}), to ${visible(grant.principal)}: ${coverText(grant.arguments)}.`,
      );
      out.line(`Take it back: aegis grants revoke ${grant.id}`);
    }
    return 0;
  });
}

/** What comes of the decision, behind what was decided. */
function nextText(verdict: "approved" | "denied", { stage, waiting, expiresAt }: Approval): string {
  const before = `before it expires (${relativeTime(expiresAt)})`;
  if (stage === "result") {
    const ran = ". The call has run. Its result:";
    if (verdict === "denied") return `${ran} withheld`;
    return waiting
      ? `${ran} passed to the waiting caller`
      : `${ran} dropped, as its caller is gone; a repeat runs the call again, and passes the very same result only ${before}`;
  }
  if (verdict === "denied") return ": it does not run";
  return waiting
    ? ": the waiting call goes on, once"
    : `: its caller is gone; the same call, repeated ${before}, runs once`;
}

/** Why nothing is granted though somebody who approved would; null where nobody would, or it is. */
function ungrantedText(approval: Approval, verdict: "approved" | "denied", asked: boolean): string | null {
  const some = asked || approval.votes.some(({ grant }) => grant !== undefined);
  if (verdict === "denied" || !some) return null;
  const once = onlyOnceText(approval);
  if (approval.status !== "pending")
    return once === null ? null : `Nothing was granted: ${once}; ${allGrant}.`;
  return `Nothing is granted ${once === null ? "yet" : `with it, as ${once}`}: ${allGrant}.`;
}

async function grantWith(backend: Backend, approval: number): Promise<Grant | null> {
  return (await backend.grants(true)).find((grant) => grant.approval === approval) ?? null;
}
