import type { Answer } from "../errors.js";
import { type Html, html } from "./html.js";
import { layout, type Viewer } from "./layout.js";
import { revealed } from "./revealed.js";

/** `to`: the page to go on to, one of ours. `problem`: why the last try was refused. */
export function signInPage(to: string, problem: string | null): string {
  const note = problem !== null && html`<p class="note" role="alert">${revealed(problem)}</p>`;
  return layout(
    "Sign in",
    null,
    html`<h1>Sign in</h1>
${note}
<section><form method="post" action="/sign-in">
<input type="hidden" name="to" value="${to}">
<label for="token">Your token</label>
<input id="token" name="token" type="password" required maxlength="16000" autocomplete="current-password" spellcheck="false" aria-describedby="about">
<p id="about" class="soft">It begins with aegis_ and is of the role approver or admin. It is not kept: the session ends with it, when you sign out, after an hour without a request, and after eight hours.</p>
<div class="actions"><button type="submit">Sign in</button></div>
</form></section>`,
  );
}

/**
 * For whoever follows a link from elsewhere: the browser left the cookie out, and sends it as soon as it is our own page
 * that leads on.
 */
export function doorstepPage(to: string): string {
  return layout(
    "One moment",
    null,
    html`<h1>One moment</h1><p><a href="${to}">Go on</a></p>`,
    html`<meta http-equiv="refresh" content="0; url=${to}">
`,
  );
}

const titles: Readonly<Record<number, string>> = {
  400: "This could not be done",
  401: "You are not signed in",
  403: "This is not allowed",
  404: "There is no such page",
  409: "Nothing was decided",
  413: "That was too long",
  415: "This is not a form of ours",
  422: "This could not be read",
  429: "Too many tries",
  503: "Not at this moment",
};

/** Any answer that is not what was asked for: what happened, and where to go on. */
export function errorPage({ status, detail, hint }: Answer, viewer: Viewer | null, next: Html): string {
  const title = titles[status] ?? "Something went wrong";
  const text = typeof detail === "string" ? detail : "The form, or the address, holds something it must not.";
  return layout(
    title,
    viewer,
    html`<h1>${title}</h1>
<p class="note" role="alert">${revealed(text)}</p>
${hint !== undefined && html`<p>${revealed(hint)}</p>`}
<p>${next}</p>`,
  );
}
