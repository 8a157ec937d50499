/** Terminal columns: East Asian wide characters and emoji take two, combining marks none. */
export function width(text: string): number {
  let columns = 0;
  for (const character of text) columns += widthOf(character);
  return columns;
}

/** In pieces of so many columns at most: of one line of visible text. Never none. */
export function hardWrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  let used = 0;
  for (const character of text) {
    const needs = widthOf(character);
    if (used + needs > columns && line !== "") {
      lines.push(line);
      line = "";
      used = 0;
    }
    line += character;
    used += needs;
  }
  return line === "" && lines.length > 0 ? lines : [...lines, line];
}

/** The same between words where it can be. */
export function wordWrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (width(longer) <= columns) {
      line = longer;
      continue;
    }
    if (line !== "") lines.push(line);
    const pieces = hardWrap(word, columns);
    line = pieces.pop() ?? "";
    lines.push(...pieces);
  }
  return [...lines, line];
}

/** The same of a text that begins at this column, and goes on below its own beginning. */
export function wrapAt(column: number, text: string, columns: number | null): string[] {
  const lines = wordWrap(text, Math.max((columns ?? Number.POSITIVE_INFINITY) - column, 20));
  return lines.map((line, index) => (index === 0 ? line : " ".repeat(column) + line));
}

function widthOf(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0x20 && code < 0x7f) return 1;
  if (/\p{Mark}/u.test(character)) return 0;
  const wide =
    /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
  return wide.test(character) ? 2 : 1;
}
