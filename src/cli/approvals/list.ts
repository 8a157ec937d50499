import type { Approval, ApprovalContext, Backend } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import { type CommonOptions, type Context, withBackend } from "../context.js";
import { approvalJson } from "../json.js";
import { type Output, terminalJson } from "../output.js";
import { untilInterrupted } from "../until-interrupted.js";
import { readId } from "./decide.js";
import { oldestFirst, Watched } from "./pages.js";
import { alikeText, isPending, showApproval, showEnd, subjectText } from "./show.js";

interface Options extends CommonOptions {
  readonly watch?: boolean;
  readonly all?: boolean;
}

/** `aegis approvals [ID]`: what waits for a decision, with everything the decision is about; of one, all of it. */
export async function run(context: Context, options: Options, [text]: readonly string[]): Promise<number> {
  const { out } = context;
  if (text !== undefined && (options.watch === true || options.all === true))
    throw new AegisError("usage", "One approval is shown: --watch and --all are about the list.");
  const one = text === undefined ? null : readId(text);
  return withBackend(context, options, async ({ backend }) => {
    if (one !== null) {
      await showOne(out, backend, one);
      return 0;
    }
    const watched = new Watched(backend);
    const shown = new Set<number>();
    let any = false;
    for await (const { approval, alike } of oldestFirst(
      backend,
      options.all === true ? undefined : "pending",
    )) {
      any = true;
      if (isPending(approval)) watched.add(approval);
      if (out.json) out.line(terminalJson(approvalJson(approval, { alike })));
      // Identical calls are shown once; each is decided by itself (threats A22, A23).
      else if (!isPending(approval) || !alike.some((id) => shown.has(id))) {
        shown.add(approval.id);
        showApproval(out, { approval, alike, context: await contextOf(backend, approval) }, false);
        out.line();
      }
    }
    if (options.watch === true) await watch(out, backend, watched);
    else if (!any && !out.json) out.line("Nothing waits for a decision.");
    return 0;
  });
}

async function showOne(out: Output, backend: Backend, id: number): Promise<void> {
  const approval = await backend.approval(id);
  const context = await contextOf(backend, approval);
  const alike = context !== null && context.alike.length > 0 ? context.alike : [id];
  if (out.json) out.line(terminalJson(approvalJson(approval, { alike })));
  else showApproval(out, { approval, context, alike }, true);
}

async function watch(out: Output, backend: Backend, watched: Watched): Promise<void> {
  await untilInterrupted(async () => {
    const { came, gone } = await watched.look();
    for (const id of gone) {
      const approval = await backend.approval(id);
      if (out.json) out.line(terminalJson(approvalJson(approval, { alike: [id] })));
      else showEnd(out, approval);
    }
    for (const approval of came) {
      const alike = watched.alike(approval);
      if (out.json) out.line(terminalJson(approvalJson(approval, { alike })));
      else if (alike.some((id) => id < approval.id))
        out.line(
          `${out.style("bold", `#${approval.id}`)}  ${subjectText(approval)}  the same ${approval.stage ?? "call"} again: ${alikeText(alike, approval)}`,
        );
      else {
        showApproval(out, { approval, alike, context: await contextOf(backend, approval) }, false);
        out.line();
      }
    }
  });
}

/** Null where this backend keeps nothing of the kind: what is asked for is shown all the same. */
async function contextOf(backend: Backend, { id }: Approval): Promise<ApprovalContext | null> {
  try {
    return await backend.approvalContext(id);
  } catch (thrown) {
    if (thrown instanceof AegisError && thrown.code === "backend_unsupported") return null;
    throw thrown;
  }
}
