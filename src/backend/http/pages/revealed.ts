import { type Child, type Html, html } from "./html.js";

/**
 * What a reader does not see, or what turns the order of what they see: controls, format and bidirectional characters,
 * blanks that are no space, fillers, halves of surrogate pairs, private characters, and marks piled up on one letter.
 */
const hidden =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}|(?<=\p{M}{3})\p{M}/gu;

/** Foreign text in which nothing hides: such characters are shown by their number, each marked as what it is. */
export function revealed(text: string): Html {
  return html`${marked(text, hidden, (character) => html`<span class="hid">${numbered(character)}</span>`)}`;
}

/** The same, where line breaks and tabs are what they look like. */
export function revealedLines(text: string): Html {
  const lines = text.replaceAll("\r\n", "\n").split(/(\n|\t)/);
  return html`${lines.map((part) => (part === "\n" || part === "\t" ? part : revealed(part)))}`;
}

/** A foreign name: whatever its direction of writing, nothing around it is turned (threat U11). */
export function named(text: string): Html {
  return text === "" ? html`<i>(empty)</i>` : html`<bdi>${revealed(text)}</bdi>`;
}

/** `text`, with what `pattern` finds in it made something else. */
export function marked(text: string, pattern: RegExp, mark: (found: string) => Html): readonly Child[] {
  const parts: Child[] = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) parts.push(text.slice(end, match.index));
    parts.push(mark(match[0]));
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}

function numbered(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}
