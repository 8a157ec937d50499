import type { Approval, ApprovalContext } from "../../client/backend.js";
import { visible } from "../../visible.js";
import { type Output, relativeTime, styleOf } from "../output.js";
import { Card } from "./card.js";
import { changedLines, shownJson } from "./changes.js";
import { fold } from "./fold.js";
import { allGrant, onlyOnceText, requirementText, termsText } from "./requirement-text.js";

/** Characters of a tool's description in a list. */
const DESCRIPTION = 400;
/** Characters of a changed line in a list. */
const SHORT = 400;

/** What is known of an approval when it is shown. */
export interface Shown {
  readonly approval: Approval;
  /** Null where the backend has none. */
  readonly context: ApprovalContext | null;
  /** Ids of the open approvals of the same call, this one among them. */
  readonly alike: readonly number[];
}

/**
 * Everything a decision is about. Nothing is cut without saying how much (threat A19).
 *
 * @param whole also what a list folds
 */
export function showApproval(out: Output, { approval, context, alike }: Shown, whole: boolean): void {
  const { id, status, rule, reason } = approval;
  const card = new Card(out);
  const head = `#${id}  ${status}  ${subjectText(approval)}`;
  card.head(`${head}  by agent ${visible(approval.agent)}`, head.length);
  card.field("asked", `${relativeTime(approval.createdAt)}${timesText(approval)}`);
  card.field("server", `${visible(approval.server)}, tool ${visible(approval.tool)}`);
  for (const line of descriptionOf(context, whole)) card.field("", line, "dim");
  card.field("asks", visible(approval.principal));
  const by = rule === null || reason.includes(rule) ? "" : ` (${visible(rule)})`;
  card.field("why", `${visible(reason)}${by}`);
  const takes = requirementText(approval);
  if (takes !== null) card.field("takes", takes);
  const { grant, quorum } = approval.requirement;
  const once = quorum === 1 ? null : onlyOnceText(approval);
  if (isPending(approval)) {
    if (grant !== null) {
      const more = quorum === 1 ? "" : `; ${allGrant}${once === null ? "" : `, and ${once}`}`;
      card.field("grant", `${termsText(grant)}${more}`);
    }
    card.field("caller", callerText(approval));
  }
  if (alike.length > 1) card.field("identical", alikeText(alike, approval), "yellow");

  const bytes = Buffer.byteLength(approval.arguments);
  card.field(approval.stage ?? "arguments", bytes === 0 ? "none" : `${bytes.toLocaleString("en-US")} bytes`);
  if (bytes > 0) {
    const lines = shownJson(approval.arguments);
    card.quote(whole ? lines.map((line) => ({ line })) : fold(lines), `aegis approvals ${id}`);
  }
  if (isPending(approval)) showChanges(out, card, approval, context, whole);
  if (!isPending(approval)) return;
  const granting = grant === null || once !== null ? "" : `   or   aegis approve ${id} --grant`;
  out.line(out.style("dim", `  aegis approve ${id}${granting}   or   aegis deny ${id}`));
}

/** What became of one that was shown before. */
export function showEnd(out: Output, approval: Approval): void {
  const status = out.style(styleOf(approval.status), approval.status);
  out.line(
    `${out.style("bold", `#${approval.id}`)}  ${status}  ${subjectText(approval)}${decidedText(approval)}`,
  );
}

/** What is decided, visible. */
export function subjectText({ action, stage }: Pick<Approval, "action" | "stage">): string {
  return `${stage === "result" ? "the result of " : ""}${visible(action)}`;
}

function callerText({ stage, waiting }: Approval): string {
  if (stage === "result")
    return waiting
      ? "waiting for the result: the call has run"
      : "gone, and the result was dropped: the call has run, and a repeat runs it again";
  return waiting ? "waiting" : "gone: a repeat of the call picks the decision up";
}

export function alikeText(alike: readonly number[], { stage }: Pick<Approval, "stage"> = {}): string {
  const some = alike.slice(0, 20).map((id) => `#${id}`);
  const more = alike.length > some.length ? ` and ${alike.length - some.length} more` : "";
  return `${alike.length} identical ${stage ?? "call"}s wait: ${some.join(" ")}${more}; each is decided by itself`;
}

export function isPending(approval: Approval): boolean {
  return approval.status === "pending";
}

/** Against the last call of this tool that somebody approved and that ran, or its last result that was let pass. */
function showChanges(
  out: Output,
  card: Card,
  approval: Approval,
  context: ApprovalContext | null,
  whole: boolean,
): void {
  if (context === null) return;
  const { previous, definition } = context;
  if (previous === null) {
    const none =
      approval.stage === "result"
        ? "no result of this tool has been let pass to this agent by anybody before"
        : "no call of this tool by this agent was approved and ran before";
    card.field("before", none);
    return;
  }
  const by = previous.decidedBy === null ? "" : ` by ${visible(previous.decidedBy)}`;
  const when = previous.decidedAt === null ? "" : ` ${relativeTime(previous.decidedAt)}`;
  const passed = approval.stage === "result" ? "let pass" : "the last that ran, approved";
  const last = `#${previous.id}, ${passed}${by}${when}`;
  const changes = changedLines(previous.redacted, approval.redacted);
  if (changes === null) card.field("before", `${last}: too much differs to show it`);
  else if (changes.length === 0)
    card.field(
      "before",
      `${last}: the same ${approval.stage ?? "arguments"}, as the ledger shows ${approval.stage === "result" ? "it" : "them"}`,
    );
  else {
    card.field(
      "before",
      `${last}; since then, as the ledger shows ${approval.stage === "result" ? "it" : "them"}:`,
    );
    const pieces = whole ? changes.map((line) => ({ line })) : fold(changes, SHORT);
    card.quote(pieces, `aegis approvals ${approval.id}`, (line) =>
      line.startsWith("+") ? "green" : line.startsWith("-") ? "red" : "dim",
    );
  }
  if (definition === null || previous.definition === null)
    card.field("definition", "whether the tool is defined as it was then is not known");
  else if (definition === previous.definition) card.field("definition", "the tool is defined as it was then");
  else {
    card.field("definition", "the tool's definition has CHANGED since then:", "red");
    const lines = changedLines(previous.definition, definition) ?? ["(too much to show: aegis tools diff)"];
    const pieces = whole ? lines.map((line) => ({ line })) : fold(lines, SHORT);
    card.quote(pieces, `aegis approvals ${approval.id}`, (line) =>
      line.startsWith("+") ? "green" : line.startsWith("-") ? "red" : "dim",
    );
    out.line();
  }
}

/** The server's own words, each line apart; what a list leaves out is counted. */
function descriptionOf(context: ApprovalContext | null, whole: boolean): string[] {
  const text = descriptionIn(context?.definition ?? null);
  if (text === null) return [];
  const most = whole ? text.length : DESCRIPTION;
  const left = Buffer.byteLength(text.slice(most));
  const lines = text.slice(0, most).split(/\r?\n/).map(visible);
  const said = lines.filter((line) => line.trim() !== "");
  if (left > 0) said.push(`(${left.toLocaleString("en-US")} bytes more)`);
  return said.map((line, index) => (index === 0 ? `it says of itself: ${line}` : line));
}

function descriptionIn(definition: string | null): string | null {
  if (definition === null) return null;
  let parsed: unknown;
  try {
    parsed = JSON.parse(definition);
  } catch {
    return null;
  }
  if (typeof parsed !== "object" || parsed === null || !("description" in parsed)) return null;
  return typeof parsed.description === "string" && parsed.description !== "" ? parsed.description : null;
}

function timesText(approval: Approval): string {
  return isPending(approval) ? `, expires ${relativeTime(approval.expiresAt)}` : decidedText(approval);
}

function decidedText({ status, decidedBy, decidedAt, decidedReason }: Approval): string {
  const reason = decidedReason === null || decidedReason === "" ? "" : `: ${visible(decidedReason)}`;
  if (decidedAt === null) return reason;
  const by = decidedBy === null ? "" : ` by ${visible(decidedBy)}`;
  return `, ${status === "denied" ? "denied" : "decided"}${by} ${relativeTime(decidedAt)}${reason}`;
}
