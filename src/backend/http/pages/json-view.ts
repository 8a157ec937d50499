import { canonicalText } from "../../../frame/canonical.js";
import { type Child, type Html, html } from "./html.js";
import { revealed } from "./revealed.js";

/** Characters of a string, and of anything below the top, that are shown without being unfolded. */
const LONG = 1_200;
/** Characters of a long one that its fold shows. */
const GLIMPSE = 100;
/** Characters that are laid out member by member: at the worst (a list of digits) that takes half a second. */
const LAID_OUT = 256 * 1024;

/** What was found in canonical JSON: a range of its text, and what lies in it. */
interface Node {
  readonly kind: "string" | "literal" | "array" | "object";
  readonly start: number;
  readonly end: number;
  /** Members and items; the first of each pair is the key, which items do not have. */
  readonly children: ReadonlyArray<readonly [string | null, Node]>;
}

/**
 * JSON for a person who decides by it: in canonical order, one member a line, every string and number as it is written
 * in the canonical form, nothing cut. What is long is folded, and the fold says how long it is. What is no JSON is shown
 * as the text it is.
 *
 * @param whole where the text can be had by itself, if it is too long for a page
 */
export function jsonView(text: string, whole: Child = null): Html {
  if (text === "") return html`<p class="none">(none)</p>`;
  const canonical = canonicalOf(text);
  if (canonical === null)
    return html`<p class="note">This is not JSON.</p><div class="json">${revealed(text)}</div>`;
  if (canonical.length > LAID_OUT)
    return html`<p class="note"><strong>${sizeOf(canonical)}</strong>: too long for this page, which shows how it begins. ${whole}</p>
<div class="json">${revealed(canonical.slice(0, LONG))} <em>… and so on, ${sizeOf(canonical)} in all</em></div>`;
  return html`<div class="json">${new View(canonical).value(parsed(canonical), 0)}</div>`;
}

/** Null where it is not JSON, or nested too deep to be laid out. */
export function canonicalOf(text: string): string | null {
  try {
    JSON.parse(text);
    return canonicalText(text);
  } catch {
    return null;
  }
}

/** Canonical JSON as lines of text, for comparing: without commas, which come and go with what stands behind them. */
export function jsonLines(text: string): string[] {
  const canonical = canonicalOf(text);
  if (canonical === null) return text.split("\n");
  const lines: string[] = [];
  const write = ({ kind, start, end, children }: Node, key: string | null, indent: string): void => {
    const before = key === null ? indent : `${indent}${key}: `;
    if (children.length === 0) {
      lines.push(before + canonical.slice(start, end));
      return;
    }
    const [open, close] = kind === "array" ? ["[", "]"] : ["{", "}"];
    lines.push(before + open);
    for (const [name, child] of children) write(child, name, `${indent}  `);
    lines.push(indent + close);
  };
  write(parsed(canonical), null, "");
  return lines;
}

/** `812 characters`, `12.5 KB in 12,040 characters`. */
export function sizeOf(text: string): string {
  const bytes = Buffer.byteLength(text);
  const characters = `${text.length.toLocaleString("en")} characters`;
  if (bytes < 10_000) return characters;
  const size = bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
  return `${size} in ${characters}`;
}

class View {
  constructor(private readonly text: string) {}

  /** @param comma what follows it: a comma, or nothing */
  value(node: Node, depth: number, comma: Html | null = null): Html {
    const { kind, start, end, children } = node;
    const written = this.text.slice(start, end);
    if (kind === "string") {
      const all = html`<span class="str">${literal(written)}</span>${comma}`;
      return written.length <= LONG ? all : fold(`string of ${sizeOf(written)}`, written, all);
    }
    if (kind === "literal") return html`<span class="lit">${revealed(written)}</span>${comma}`;
    const [open, close] = kind === "array" ? ["[", "]"] : ["{", "}"];
    if (children.length === 0) return html`<span class="pun">${open}${close}</span>${comma}`;
    const lines = children.map(([key, child], index) => {
      const name =
        key === null ? null : html`<span class="key">${literal(key)}</span><span class="pun">: </span>`;
      const next = index < children.length - 1 ? html`<span class="pun">,</span>` : null;
      return html`<div class="mem">${name}${this.value(child, depth + 1, next)}</div>`;
    });
    const all = html`<span class="pun">${open}</span>${lines}<span class="pun">${close}</span>${comma}`;
    if (depth === 0 || written.length <= LONG) return all;
    const what = kind === "array" ? "items" : "members";
    return fold(`${kind} of ${children.length} ${what}, ${sizeOf(written)}`, written, all);
  }
}

function fold(what: string, written: string, all: Html): Html {
  // Half of a surrogate pair at the cut would be shown as if it were in the text.
  const glimpse = written.slice(0, GLIMPSE).replace(/[\ud800-\udbff]$/, "");
  return html`<details><summary>${what}: <span class="glimpse">${revealed(glimpse)}…</span></summary>${all}</details>`;
}

/** Escapes are marked; behind one that breaks the line, the line breaks. */
function literal(written: string): Html {
  const escapes = /\\(?:u[0-9a-f]{4}|.)/g;
  const parts: Child[] = [];
  let end = 0;
  for (const { 0: found, index } of written.matchAll(escapes)) {
    parts.push(revealed(written.slice(end, index)));
    parts.push(html`<span class="esc">${found}</span>`, found === "\\n" && "\n");
    end = index + found.length;
  }
  parts.push(revealed(written.slice(end)));
  return html`${parts}`;
}

/** Finds its way through text that is known to be canonical JSON. */
function parsed(text: string): Node {
  let at = 0;
  const skipString = (): void => {
    for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
    at++;
  };
  const value = (): Node => {
    const start = at;
    const children: Array<readonly [string | null, Node]> = [];
    const first = text[at];
    if (first === '"') {
      skipString();
      return { kind: "string", start, end: at, children };
    }
    if (first !== "{" && first !== "[") {
      while (at < text.length && !/[,\]}]/.test(text[at] ?? "")) at++;
      return { kind: "literal", start, end: at, children };
    }
    at++;
    while (text[at] !== "}" && text[at] !== "]") {
      if (text[at] === ",") at++;
      let key: string | null = null;
      if (first === "{") {
        const from = at;
        skipString();
        key = text.slice(from, at);
        at++;
      }
      children.push([key, value()]);
    }
    at++;
    return { kind: first === "{" ? "object" : "array", start, end: at, children };
  };
  return value();
}
