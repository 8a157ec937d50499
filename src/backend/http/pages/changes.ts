import { diffArrays } from "diff";
import { type Html, html } from "./html.js";
import { canonicalOf, jsonLines } from "./json-view.js";
import { revealed } from "./revealed.js";

/** Milliseconds a comparison may take: everybody waits for it. */
const PATIENCE = 100;
/** Characters of two texts that are compared at all. */
const LONGEST = 200_000;
/** Lines around a change. */
const AROUND = 3;

/** What differs between two JSON texts, line by line; null where nothing does. */
export function changes(before: string, after: string): Html | null {
  if (before === after || (canonicalOf(before) ?? before) === (canonicalOf(after) ?? after)) return null;
  if (before.length + after.length > LONGEST)
    return html`<p>They differ, and are too long to be compared here.</p>`;
  const parts = diffArrays(jsonLines(before), jsonLines(after), { timeout: PATIENCE });
  if (parts === undefined) return html`<p>They differ in too much to be compared here.</p>`;
  return html`<div class="diff">${parts.map(({ added, removed, value }, index) => {
    if (added) return value.map((line) => html`<ins>+ ${revealed(line)}</ins>`);
    if (removed) return value.map((line) => html`<del>- ${revealed(line)}</del>`);
    return same(value, index === 0, index === parts.length - 1);
  })}</div>`;
}

function same(lines: readonly string[], first: boolean, last: boolean): Html {
  const head = first ? 0 : AROUND;
  const tail = last ? 0 : AROUND;
  const shown = (line: string): Html => html`<div>&nbsp; ${revealed(line)}</div>`;
  if (lines.length <= head + tail + 1) return html`${lines.map(shown)}`;
  const hidden = lines.slice(head, lines.length - tail);
  return html`${lines.slice(0, head).map(shown)}<div class="soft">… ${hidden.length} lines that are the same</div>${lines
    .slice(lines.length - tail)
    .map((line) => shown(line))}`;
}
