import { hash } from "node:crypto";
import { Html } from "./html.js";

/** One column that a phone shows too, light or dark as the reader's system is. Nothing of it is loaded from anywhere. */
const sheet = `
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #1b1f24; --soft: #59636e; --line: #d8dee4;
  --accent: #0a58ca; --yes: #1a7f37; --go: #1a7f37; --no: #b42318; --warn: #7a4b00; --warn-back: #fff4d6; --code: #f2f4f7;
  --key: #0a4a9e; --str: #14532d; --lit: #8a1c63; --hid: #fff; --hid-back: #b42318; --add: #dcfce7; --del: #fee4e2; }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --card: #161b22; --text: #e6edf3; --soft: #9aa4af;
  --line: #30363d; --accent: #6cb0ff; --yes: #3fb950; --go: #238636; --no: #ff8a80; --warn: #f0c96a; --warn-back: #33290f;
  --code: #0d1117; --key: #79c0ff; --str: #8ddb9c; --lit: #f29fd0; --hid: #1b1f24; --hid-back: #ff9d94;
  --add: #12361f; --del: #421c1a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif;
  -webkit-text-size-adjust: 100%; overflow-wrap: anywhere; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; max-width: 60rem; margin: 0 auto;
  padding: .75rem 1rem; }
header .who { margin-left: auto; color: var(--soft); font-size: .9rem; }
header form { display: inline; }
main { max-width: 60rem; margin: 0 auto; padding: 0 1rem 4rem; }
a { color: var(--accent); }
h1 { font-size: 1.4rem; line-height: 1.3; margin: .5rem 0 .25rem; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin: 1rem 0; }
p { margin: .4rem 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .35rem 1.25rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
@media (max-width: 34rem) { dl { display: block; } dt { font-size: .85rem; margin-top: .5rem; } }
.soft, .none { color: var(--soft); }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: 1rem; padding: 0 .6rem; font-size: .85rem; }
.pending, .expired, .void { color: var(--warn); }
.approved, .consumed { color: var(--yes); }
.denied { color: var(--no); }
.note { background: var(--warn-back); color: var(--warn); border-radius: .4rem; padding: .5rem .75rem; }
.prose { white-space: pre-wrap; unicode-bidi: isolate; }
.json, .diff { font: 14px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; background: var(--code);
  border: 1px solid var(--line); border-radius: .4rem; padding: .75rem; white-space: pre-wrap; overflow: clip;
  unicode-bidi: isolate; direction: ltr; text-align: left; }
.mem { padding-left: 1.25rem; }
.key, .str { unicode-bidi: isolate; }
.key { color: var(--key); font-weight: 600; }
.str { color: var(--str); }
.lit { color: var(--lit); }
.pun, .esc { color: var(--soft); }
.hid { color: var(--hid); background: var(--hid-back); border-radius: .2rem; padding: 0 .15rem; font-size: .85em; }
details > summary { cursor: pointer; color: var(--accent); }
.json details { display: inline-block; vertical-align: top; max-width: 100%; }
.glimpse { color: var(--soft); }
.diff div { padding: 0 .4rem; }
.diff ins, .diff del { display: block; text-decoration: none; padding: 0 .4rem; }
.diff ins { background: var(--add); }
.diff del { background: var(--del); }
label { display: block; font-weight: 600; margin: .25rem 0; }
input, textarea { width: 100%; font: inherit; color: inherit; background: var(--back); border: 1px solid var(--soft);
  border-radius: .4rem; padding: .55rem .7rem; }
input[type=number] { width: 8rem; }
.actions { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1rem; }
button { font: inherit; font-weight: 600; border-radius: .4rem; padding: .6rem 1.4rem; min-height: 2.75rem; cursor: pointer;
  border: 2px solid var(--soft); background: var(--card); color: var(--text); }
button.deny { border-color: var(--no); color: var(--no); }
button.approve { border-color: var(--go); background: var(--go); color: #fff; margin-left: auto; }
button.small { padding: .1rem .6rem; min-height: 0; font-weight: 400; font-size: .9rem; border-width: 1px; }
@media (max-width: 34rem) { .actions button { flex: 1 1 100%; margin-left: 0; } }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
ul.list { list-style: none; margin: 0; padding: 0; }
ul.ids { margin: .5rem 0 0; padding-left: 1.1rem; }
.mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .9em; }
`;

export const style = Html.style(sheet);

/** What the pages may do: show themselves in this style, and send their forms to us. Nothing runs, nothing is loaded. */
export const pagePolicy =
  `default-src 'none'; style-src 'sha256-${hash("sha256", sheet, "base64")}'; form-action 'self'; base-uri 'none'; ` +
  "frame-ancestors 'none'";
