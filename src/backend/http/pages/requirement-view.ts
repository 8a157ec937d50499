import type { Approval, Vote } from "../../../client/backend.js";
import type { GrantTerms } from "../../../requirement.js";
import { type Html, html } from "./html.js";
import { named, revealed } from "./revealed.js";
import { listed } from "./standing.js";
import { moment, spanOf } from "./times.js";

const channelNames = { cli: "in a terminal or over the API", page: "on this page", client: "in the client" };

/** What deciding takes, and what there is of it. */
export function requirementView({ requirement, votes }: Approval, now: number): Html {
  const { approvers, quorum, reason, channels, grant } = requirement;
  const ways = channels.map((channel) => channelNames[channel]).join(", or ");
  return html`<section aria-labelledby="takes"><h2 id="takes">What a decision takes</h2><ul>
<li>${quorum === 1 ? "One person approves" : `${quorum} different people approve`}; one who denies ends it.</li>
${
  approvers.length === 0
    ? html`<li>Anybody of the role approver or admin, except who made the call.</li>`
    : approvers.map(
        (groups) => html`<li>Each of them is in ${groups.length > 1 && "one of "}${listed(groups)}.</li>`,
      )
}
${reason && html`<li>An approval needs a reason.</li>`}
<li>It is decided ${ways === "" ? "nowhere: the rules do not agree on a way" : ways}.</li>
${grant !== null && html`<li>${grantText(grant)}${quorum > 1 && html` ${allGrant}`}</li>`}
</ul>
${(votes.length > 0 || quorum > 1) && html`<p>Approved so far by ${votes.length} of ${quorum}${votes.length > 0 && ":"}</p>`}
${
  votes.length > 0 &&
  html`<ul>${votes.map(
    (vote) =>
      html`<li>${named(vote.by)} ${moment(vote.at, now)}${vote.reason !== "" && html`: “<bdi>${revealed(vote.reason)}</bdi>”`}${grant !== null && votedText(vote)}</li>`,
  )}</ul>`
}
</section>`;
}

/** What more than one person must do for a grant. */
export const allGrant = "A grant needs everybody who approves to give it.";

function votedText({ grant }: Vote): Html {
  if (grant === undefined) return html`, this one call only`;
  return html`, and grants up to ${grant.uses} more, within ${spanOf(grant.expires)}`;
}

/** What granting would let through. */
export function grantText({ uses, expires, arguments: patterns }: GrantTerms): Html {
  const names = Object.entries(patterns);
  const where =
    names.length === 0
      ? html`with these very arguments`
      : html`where ${names.map(
          ([name, pattern], index) => html`${index > 0 && " and "}${named(name)} is like ${named(pattern)}`,
        )} and everything else is as it is here`;
  return html`An approver may also let further calls of this tool by this agent through: up to ${uses}, within ${spanOf(expires)}, ${where}.`;
}
