import type { Principal } from "../../../client/backend.js";
import { type Child, type Html, html } from "./html.js";
import { named } from "./revealed.js";
import { style } from "./style.js";

/** Whom a page is made for, and what its forms carry. */
export interface Viewer {
  readonly principal: Principal;
  readonly form: string;
}

/** A whole page. `head`: more for its head. */
export function layout(title: string, viewer: Viewer | null, body: Html, head: Child = null): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
${head}<title>${title} · Aegis</title>
${style}
</head>
<body>
<header><strong>Aegis</strong>${viewer === null ? null : bar(viewer)}</header>
<main>
${body}
</main>
</body>
</html>
`.text;
}

function bar({ principal, form }: Viewer): Html {
  return html` <nav><a href="/approvals">What waits</a></nav>
<span class="who">${named(principal.name)} (${principal.role})
<form method="post" action="/sign-out"><input type="hidden" name="form" value="${form}"><button class="small">Sign out</button></form></span>`;
}
