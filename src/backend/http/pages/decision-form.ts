import type { Approval } from "../../../client/backend.js";
import { type Html, html } from "./html.js";
import { allGrant, grantText } from "./requirement-view.js";
import { listed, type Standing } from "./standing.js";

/**
 * The buttons. The digest of what is shown goes with them: whatever the approval is by then, nothing else is decided
 * (threat U7). The first button does nothing, so that Enter in a field does nothing either.
 */
export function decisionForm(
  approval: Approval,
  standing: Exclude<Standing, { may: "nothing" }>,
  form: string,
): Html {
  const { id, digest, requirement, stage } = approval;
  const decides = standing.may === "decide";
  const needed = decides && requirement.reason;
  const field = needed
    ? html`<textarea id="reason" name="reason" rows="2" maxlength="4000" required aria-describedby="reason-note"></textarea>
<p id="reason-note" class="soft">The policy asks for a reason with an approval.</p>`
    : html`<textarea id="reason" name="reason" rows="2" maxlength="4000"></textarea>`;
  return html`<section aria-labelledby="decide"><h2 id="decide">Decide approval ${id}</h2>
${standing.may === "deny" && html`<p class="note">${standing.why}</p>`}
<form method="post" action="/approvals/${id}" autocomplete="off">
<button type="submit" disabled hidden></button>
<input type="hidden" name="form" value="${form}">
<input type="hidden" name="digest" value="${digest}">
<label for="reason">Reason${needed ? " (required to approve)" : " (recorded, and told to the caller)"}</label>
${field}
${decides && grantFields(approval)}
<div class="actions">
<button type="submit" class="deny" name="decision" value="deny" formnovalidate>Deny</button>
${decides && html`<button type="submit" class="approve" name="decision" value="approve">${stage === "result" ? "Let this result pass" : "Approve this one call"}</button>`}
</div>
</form></section>`;
}

function grantFields({ requirement: { grant: terms, quorum }, votes }: Approval): Html | null {
  if (terms === null) return null;
  const once = votes.filter(({ grant }) => grant === undefined).map(({ by }) => by);
  if (once.length > 0)
    return html`<p class="soft">Nothing more can be granted: ${listed(once)} approved this one call only. ${allGrant}</p>`;
  const minutes = Math.floor(terms.expires / 60_000);
  return html`<details><summary>Approve more calls like this one</summary>
<p>${grantText(terms)}${quorum > 1 && html` ${allGrant}`}</p>
<label for="uses">Further calls, at most</label>
<input id="uses" name="uses" type="number" min="1" max="${terms.uses}" value="${terms.uses}">
${
  minutes > 0 &&
  html`<label for="minutes">Minutes, at most</label>
<input id="minutes" name="minutes" type="number" min="1" max="${minutes}" value="${minutes}">`
}
<div class="actions"><button type="submit" name="decision" value="grant">Approve, and grant these</button></div>
</details>`;
}
