import { z } from "zod";
import type { Approval, ApprovalContext } from "../../../client/backend.js";
import { changes } from "./changes.js";
import { decisionForm } from "./decision-form.js";
import { type Child, type Html, html } from "./html.js";
import { jsonView, sizeOf } from "./json-view.js";
import { layout, type Viewer } from "./layout.js";
import { requirementView } from "./requirement-view.js";
import { named, revealed, revealedLines } from "./revealed.js";
import { standingOf } from "./standing.js";
import { moment } from "./times.js";

/** Characters of a description that are shown without being unfolded. */
const LONG = 600;

/** One approval, with everything its decision is about. `now`: milliseconds since the epoch. */
export function approvalPage(
  approval: Approval,
  context: ApprovalContext,
  viewer: Viewer,
  now: number,
): string {
  const { id, status, action, stage } = approval;
  const standing = standingOf(approval, viewer.principal, now);
  const body = html`<h1>${stage === "result" && "The result of "}${named(action)}</h1>
<p><span class="badge ${status}">${status}</span> <span class="soft">approval ${id}</span></p>
${standing.may === "nothing" && html`<p class="note" role="status">${standing.why}</p>`}
${facts(approval, now)}
<section aria-labelledby="arguments"><h2 id="arguments">${stage === "result" ? "The result" : "Arguments"}</h2>
${argumentsOf(approval)}
</section>
${toolView(approval, context)}
${since(approval, context, now)}
${requirementView(approval, now)}
${status === "pending" && alike(approval, context.alike)}
${standing.may !== "nothing" && decisionForm(approval, standing, viewer.form)}`;
  return layout(`${id}: ${status}`, viewer, body);
}

function facts(approval: Approval, now: number): Html {
  const { server, tool, agent, principal, rule, reason, revision = null, status } = approval;
  const open = status === "pending" || status === "approved";
  return html`<section aria-label="The call"><dl>
${row("Server", named(server))}
${row("Tool", named(tool))}
${row("Agent", named(agent))}
${row("Asked by", named(principal))}
${row("Why", html`<span class="prose">${revealedLines(reason)}</span>`)}
${row("Rule", rule === null ? html`<span class="soft">none: the default holds it</span>` : html`<span class="mono">${named(rule)}</span>`)}
${revision !== null && row("Policy revision", html`<span class="mono">${revealed(revision)}</span>`)}
${row("Asked", moment(approval.createdAt, now))}
${open && row(Date.parse(approval.expiresAt) > now ? "Expires" : "Expired", moment(approval.expiresAt, now))}
${open && row("Caller", callerText(approval))}
</dl></section>`;
}

function callerText({ stage, waiting }: Approval): string {
  if (stage === "result")
    return waiting
      ? "is waiting for the result: the call has run"
      : "is gone, and the result was dropped: the call has run, and a repeat runs it again";
  return waiting ? "is waiting" : "is gone: a repeat of the call picks the decision up";
}

function row(term: string, value: Child): Html {
  return html`<dt>${term}</dt><dd>${value}</dd>`;
}

function argumentsOf({ id, status, stage, arguments: written }: Approval): Html {
  const open = status === "pending" || status === "approved";
  const whole = html`<a href="/approvals/${id}/arguments">All of it as text</a>; look at it before you decide.`;
  const exact = stage === "result" ? "what the call has answered" : "what the call would send";
  const held =
    stage === "result"
      ? "What the ledger holds of it: the exact result was erased when the approval ended."
      : "What the ledger holds of them: the exact arguments were erased when the approval ended.";
  return html`<p class="soft">${
    open
      ? `Exactly ${exact}, in canonical order. Characters that could hide are shown by their number.`
      : held
  }</p>
${jsonView(written, whole)}`;
}

/** What a definition says of itself, as far as it is text. */
const definitionForm = z.object({
  title: z.string().optional().catch(undefined),
  description: z.string().optional().catch(undefined),
});

function toolView({ server }: Approval, { definition }: ApprovalContext): Html {
  const said = definition === null ? null : readDefinition(definition);
  if (definition === null || said === null) {
    return html`<section aria-labelledby="tool"><h2 id="tool">The tool</h2><p class="soft">Its definition is not known here.</p></section>`;
  }
  const { title, description = "" } = said;
  return html`<section aria-labelledby="tool"><h2 id="tool">The tool, in the words of the server ${named(server)}</h2>
${title !== undefined && html`<p><strong>${named(title)}</strong></p>`}
${prose(description)}
<details><summary>Its whole definition, ${sizeOf(definition)}</summary>${jsonView(definition)}</details>
</section>`;
}

function readDefinition(text: string): z.infer<typeof definitionForm> | null {
  try {
    return definitionForm.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Nobody's markup, and no links: text (threat U2). */
function prose(text: string): Html {
  if (text === "") return html`<p class="soft">It has no description.</p>`;
  const all = html`<p class="prose">${revealedLines(text)}</p>`;
  if (text.length <= LONG) return all;
  const head = text.slice(0, LONG / 3).replace(/[\ud800-\udbff]$/, "");
  return html`<details><summary>${sizeOf(text)}: <span class="glimpse">${revealed(head)}…</span></summary>${all}</details>`;
}

function since(approval: Approval, { previous, definition }: ApprovalContext, now: number): Html {
  const result = approval.stage === "result";
  const title = `Since the last ${result ? "result of this tool that was let pass" : "call of this tool that was approved and ran"}`;
  if (previous === null) {
    const none = result ? "no result of it was let pass to" : "no call of it was approved and ran by";
    return html`<section aria-labelledby="since"><h2 id="since">${title}</h2><p class="soft">There was none: before, ${none} this agent.</p></section>`;
  }
  const by = previous.decidedBy === null ? null : html`, approved by ${named(previous.decidedBy)}`;
  const at = previous.decidedAt === null ? null : html` ${moment(previous.decidedAt, now)}`;
  return html`<section aria-labelledby="since"><h2 id="since">${title}</h2>
<p>That was <a href="/approvals/${previous.id}">approval ${previous.id}</a>${by}${at}.</p>
${differing(previous.redacted, approval.redacted, result)}
${definitions(previous.definition, definition)}
</section>`;
}

function differing(before: string, after: string, result: boolean): Html {
  const changed = changes(before, after);
  if (changed === null && result) return html`<p>The result is the same, as far as the ledger holds it.</p>`;
  if (changed === null) return html`<p>The arguments are the same, as far as the ledger holds them.</p>`;
  const differ = result ? "The result differs" : "The arguments differ";
  return html`<p>${differ} (secrets and long texts are left out here):</p>${changed}`;
}

function definitions(before: string | null, after: string | null): Html {
  if (before === null || after === null)
    return html`<p class="soft">Whether the tool's definition changed since is not known.</p>`;
  const changed = changes(before, after);
  if (changed === null) return html`<p>The tool's definition is the same.</p>`;
  return html`<p class="note"><strong>The tool's definition has changed since:</strong></p>${changed}`;
}

function alike({ id, stage }: Approval, ids: readonly number[]): Html | null {
  const others = ids.filter((other) => other !== id);
  if (others.length === 0) return null;
  return html`<section aria-labelledby="alike"><h2 id="alike">The very same ${stage ?? "call"} is held ${ids.length} times</h2>
<p>Each is decided by itself; a decision here decides ${id} only. The others: ${others.map(
    (other, index) => html`${index > 0 && ", "}<a href="/approvals/${other}">${other}</a>`,
  )}.</p></section>`;
}
