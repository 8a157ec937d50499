import type { Requirement } from "../../requirement.js";
import { visible } from "../../visible.js";

/** What has become of an approval that somebody may want to know. */
export type NoticeEvent = "opened" | "expired" | "void";

/**
 * What is told of an approval: who asks for what, and what deciding takes. Never what the call's arguments are: it
 * leaves the house (threat U10).
 */
export interface Notice {
  readonly event: NoticeEvent;
  readonly id: number;
  readonly agent: string;
  readonly principal: string;
  readonly action: string;
  readonly server: string;
  readonly tool: string;
  /** The call has run, and its result is what waits; left out for a call. */
  readonly stage?: "result";
  readonly rule: string | null;
  /** Why it is asked; of one that is void, why it is. */
  readonly reason: string;
  readonly requirement: Requirement;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly expiresAt: string;
  /** The page on which it is decided, after signing in; null where there is none. */
  readonly link: string | null;
}

/** Characters of a foreign name or reason in a text for people. The webhook and the page have all of it. */
const MOST = 300;

/** What a webhook is sent. @param delivery the same for every try to deliver it */
export function webhookBody(notice: Notice, delivery: string): string {
  const { event, createdAt, expiresAt, requirement, ...same } = notice;
  const { approvers, quorum, reason, channels } = requirement;
  return JSON.stringify({
    event: `approval.${event}`,
    delivery,
    ...same,
    requirement: { approvers, quorum, reason, channels },
    created_at: createdAt,
    expires_at: expiresAt,
  });
}

/** In the words of `aegis approvals`, in one line in which nothing hides. */
export function noticeText(notice: Notice): string {
  return textOf(notice, (foreign) => cut(visible(foreign)));
}

/**
 * The same for Slack, and for what understands its payload. Foreign text is code: a name can neither mention a channel,
 * nor lead somewhere, nor load a picture.
 */
export function slackBody(notice: Notice): string {
  return JSON.stringify({ text: textOf(notice, slackCode), unfurl_links: false, unfurl_media: false });
}

function textOf(notice: Notice, quote: (foreign: string) => string): string {
  const { event, id, agent, action, server, tool, stage, rule, reason, expiresAt, link } = notice;
  const about = stage === "result" ? "the result of a call by " : "";
  const what = `${about}agent ${quote(agent)}, ${quote(action)} (server ${quote(server)}, tool ${quote(tool)})`;
  if (event === "expired") return `Aegis: approval ${id} has expired, nobody decided: ${what}.`;
  if (event === "void") return `Aegis: approval ${id} is void: ${what}. ${quote(reason)}`;
  const why = `${quote(reason)}${rule === null || reason.includes(rule) ? "" : ` (${quote(rule)})`}`;
  const how = link === null ? "" : `${link} or `;
  return (
    `Aegis: approval ${id} waits: ${what}. ${stage === "result" ? "The call has run. " : ""}${why}. ${takes(notice.requirement, quote)}Until ${expiresAt}. ` +
    `Decide: ${how}${quote(`aegis approve ${id}`)}`
  );
}

/** What deciding takes, as a sentence; nothing where any one approver will do. */
function takes({ approvers, quorum, reason }: Requirement, quote: (foreign: string) => string): string {
  if (approvers.length === 0 && quorum === 1 && !reason) return "";
  const who = approvers.map((groups) => groups.map(quote).join(" or ")).join(" and also in ");
  const people = `${quorum} ${quorum === 1 ? "person" : "people"}`;
  return `It takes ${people}${who === "" ? "" : ` from ${who}`}${reason ? ", with a reason" : ""}. `;
}

function slackCode(foreign: string): string {
  const plain = cut(visible(foreign)).replaceAll("`", "'");
  return `\`${plain.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")}\``;
}

function cut(text: string): string {
  return text.length <= MOST ? text : `${text.slice(0, MOST)}… (${text.length - MOST} characters more)`;
}
