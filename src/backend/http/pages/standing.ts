import type { Approval, Principal } from "../../../client/backend.js";
import { mayDecide } from "../../approvals/rights.js";
import { samePerson } from "../../approvals/votes.js";
import { type Html, html } from "./html.js";
import { named, revealed } from "./revealed.js";
import { moment } from "./times.js";

/** What the person in front of the page can do about the approval. */
export type Standing =
  | { readonly may: "decide" }
  /** They approved already; others are still to. */
  | { readonly may: "deny"; readonly why: Html }
  | { readonly may: "nothing"; readonly why: Html };

/**
 * What is offered, and why no more. Only for the page: whether the decision counts is found out where it is made, under
 * the state of that moment.
 */
export function standingOf(approval: Approval, by: Principal, now: number): Standing {
  const { status, stage, requirement, votes } = approval;
  if (status !== "pending") return { may: "nothing", why: settled(approval, now) };
  if (Date.parse(approval.expiresAt) <= now)
    return { may: "nothing", why: html`It has expired. ${againText(stage)}` };
  const refused = mayDecide(approval, requirement, by, "page");
  if (refused !== null) {
    const { message, hint } = refused;
    return {
      may: "nothing",
      why: html`${revealed(message)}${hint !== undefined && html` ${revealed(hint)}`}`,
    };
  }
  if (votes.some((vote) => samePerson(vote.by, by.name))) {
    return {
      may: "deny",
      why: html`You have approved it. It takes ${requirement.quorum} people; until then you can still deny it.`,
    };
  }
  return { may: "decide" };
}

/** What became of it. */
function settled({ status, stage, decidedBy, decidedAt, decidedReason }: Approval, now: number): Html {
  const by = decidedBy === null ? null : html` by ${named(decidedBy)}`;
  const at = decidedAt === null ? null : html` ${moment(decidedAt, now)}`;
  const reason =
    decidedReason === null || decidedReason === "" ? null : html`: “<bdi>${revealed(decidedReason)}</bdi>”`;
  const result = stage === "result";
  switch (status) {
    case "approved":
      return html`Approved${by}${at}${reason}. It is used when its caller${!result && ", or a repeat of the call,"} picks it up.`;
    case "consumed":
      return html`Approved${by}${at}${reason}, and used: the ${result ? "result was passed" : "call went"} on, once.`;
    case "denied":
      return html`Denied${by}${at}${reason}.`;
    case "void":
      return html`It is void${reason}. ${againText(stage)}`;
    default:
      return html`It has expired. ${againText(stage)}`;
  }
}

function againText(stage: Approval["stage"]): string {
  return stage === "result"
    ? "The call has run, and its result was not passed on; a repeat runs it again."
    : "When the call is repeated, it asks again.";
}

export function listed(names: readonly string[]): Html {
  return html`${names.map((name, index) => html`${index > 0 && ", "}${named(name)}`)}`;
}
