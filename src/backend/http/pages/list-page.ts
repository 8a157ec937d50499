import type { Approval } from "../../../client/backend.js";
import { type Html, html } from "./html.js";
import { canonicalOf, sizeOf } from "./json-view.js";
import { layout, type Viewer } from "./layout.js";
import { named, revealed } from "./revealed.js";
import { moment } from "./times.js";

/** Characters of arguments in the list. */
const GLIMPSE = 160;

/** What waits for a decision: identical calls once, with the numbers under which each is decided. */
export function listPage(
  waiting: readonly Approval[],
  older: number | null,
  viewer: Viewer,
  now: number,
): string {
  const body = html`<h1>What waits for a decision</h1>
${
  waiting.length === 0
    ? html`<p class="soft">Nothing waits.</p>`
    : html`<ul class="list">${grouped(waiting).map((group) => entry(group, now))}</ul>`
}
${older !== null && html`<p><a href="/approvals?before=${older}">Older ones</a></p>`}`;
  return layout("What waits", viewer, body);
}

/** By what is asked and who asks, in the order of the oldest. */
function grouped(waiting: readonly Approval[]): Approval[][] {
  const groups = new Map<string, Approval[]>();
  for (const approval of waiting) {
    const key = JSON.stringify([approval.digest, approval.principal]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [approval]);
    else group.push(approval);
  }
  return [...groups.values()];
}

function entry(group: readonly Approval[], now: number): Html {
  const [first] = group;
  if (first === undefined) return html``;
  const { agent, principal, server, reason, stage } = first;
  const subject = html`${stage === "result" && "The result of "}${named(first.action)}`;
  const asks = agent === principal ? named(agent) : html`${named(agent)} (${named(principal)})`;
  return html`<li><section>
<h2>${group.length === 1 ? html`<a href="/approvals/${first.id}">${subject}</a>` : subject}</h2>
<p class="soft">on ${named(server)}, asked by ${asks}</p>
<p>${revealed(reason)}</p>
<p class="mono">${glimpse(first.arguments)}</p>
${
  group.length === 1
    ? html`<p class="soft">approval ${first.id}, ${line(first, now)}</p>`
    : html`<p>The very same ${stage ?? "call"}, held ${group.length} times; each is decided by itself:</p>
<ul class="ids">${group.map((one) => html`<li><a href="/approvals/${one.id}">${one.id}</a> <span class="soft">${line(one, now)}</span></li>`)}</ul>`
}
</section></li>`;
}

function line({ createdAt, waiting, votes, requirement }: Approval, now: number): Html {
  const votesText = requirement.quorum > 1 && html`, ${votes.length} of ${requirement.quorum} approved`;
  return html`asked ${moment(createdAt, now)}${waiting ? ", its caller is waiting" : ", its caller is gone"}${votesText}`;
}

/** Enough to know it again; it is decided where all of it is shown. */
function glimpse(written: string): Html {
  if (written === "") return html`<span class="soft">no arguments</span>`;
  const canonical = written.length > 64 * GLIMPSE ? written : (canonicalOf(written) ?? written);
  if (canonical.length <= GLIMPSE) return revealed(canonical);
  const head = canonical.slice(0, GLIMPSE).replace(/[\ud800-\udbff]$/, "");
  return html`${revealed(head)}<span class="soft">… (${sizeOf(written)} in all)</span>`;
}
