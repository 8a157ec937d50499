import type { Approval } from "../client/backend.js";
import { visible } from "../visible.js";
import { type CommonOptions, type Context, withBackend } from "./context.js";
import { indentJson } from "./indent-json.js";
import { approvalJson } from "./json.js";
import { type Output, relativeTime, styleOf, terminalJson } from "./output.js";
import { untilInterrupted } from "./until-interrupted.js";

interface Options extends CommonOptions {
  readonly watch?: boolean;
  readonly all?: boolean;
}

/** `aegis approvals`: what waits for a decision, with everything the decision is about. */
export async function run(context: Context, options: Options): Promise<number> {
  const { out } = context;
  const filter = options.all === true ? {} : ({ status: "pending" } as const);
  return withBackend(context, options, async ({ backend }) => {
    const approvals = await backend.approvals(filter);
    for (const approval of approvals) print(out, approval);
    if (options.watch !== true) {
      if (approvals.length === 0 && !out.json) out.line("Nothing waits for a decision.");
      return 0;
    }
    const pending = new Map(approvals.filter(isPending).map((approval) => [approval.id, approval]));
    await untilInterrupted(async () => {
      const now = new Map((await backend.approvals({ status: "pending" })).map((each) => [each.id, each]));
      for (const id of pending.keys()) {
        if (now.has(id)) continue;
        pending.delete(id);
        printEnd(out, await backend.approval(id));
      }
      for (const [id, approval] of now) {
        if (!pending.has(id)) print(out, approval);
        pending.set(id, approval);
      }
    });
    return 0;
  });
}

function isPending(approval: Approval): boolean {
  return approval.status === "pending";
}

/** Nothing is cut: who decides must see what runs (threat A19). */
function print(out: Output, approval: Approval): void {
  if (out.json) {
    out.line(terminalJson(approvalJson(approval)));
    return;
  }
  const { id, status } = approval;
  const times = isPending(approval)
    ? `asked ${relativeTime(approval.createdAt)}, expires ${relativeTime(approval.expiresAt)}`
    : `asked ${relativeTime(approval.createdAt)}${decided(approval)}`;
  out.line(
    `${out.style("bold", `#${id}`)}  ${out.style(styleOf(status), status)}  ${visible(approval.action)}  ` +
      `by agent ${visible(approval.agent)}, ${times}`,
  );
  out.line(`  server     ${visible(approval.server)}, tool ${visible(approval.tool)}`);
  const rule = approval.rule === null ? "" : ` (${visible(approval.rule)})`;
  out.line(`  why        ${visible(approval.reason)}${rule}`);
  if (isPending(approval))
    out.line(
      `  caller     ${approval.waiting ? "waiting" : "gone: a repeat of the call picks the decision up"}`,
    );
  out.line("  arguments");
  const shown = approval.arguments === "" ? ["(none)"] : indentJson(approval.arguments);
  for (const line of shown) out.line(`    ${visible(line)}`);
  if (isPending(approval)) out.line(out.style("dim", `  aegis approve ${id}   or   aegis deny ${id}`));
  out.line();
}

function printEnd(out: Output, approval: Approval): void {
  if (out.json) {
    out.line(terminalJson(approvalJson(approval)));
    return;
  }
  const status = out.style(styleOf(approval.status), approval.status);
  out.line(
    `${out.style("bold", `#${approval.id}`)}  ${status}  ${visible(approval.action)}${decided(approval)}`,
  );
}

function decided({ status, decidedBy, decidedAt, decidedReason }: Approval): string {
  if (decidedAt === null) return "";
  const by = decidedBy === null ? "" : ` by ${visible(decidedBy)}`;
  const reason = decidedReason === null || decidedReason === "" ? "" : `: ${visible(decidedReason)}`;
  return `, ${status === "denied" ? "denied" : "decided"}${by} ${relativeTime(decidedAt)}${reason}`;
}
