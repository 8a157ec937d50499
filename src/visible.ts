/** C0 and C1 controls, zero-width and bidirectional characters, separators and tags: what a reader does not see. */
// biome-ignore-start lint/suspicious/noControlCharactersInRegex: control characters are what this is about
const invisible =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]|\u034f|\u115f|\u1160|\u17b4|\u17b5|\u3164|\uffa0|[\u180b-\u180f]|[\ufe00-\ufe0f]|[\u{e0100}-\u{e01ef}]/gu;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: control characters are what this is about

/**
 * Foreign text for a terminal or a log: every character that could hide something, move the cursor or turn the
 * reading direction is shown as an escape (threat U3). One line in, one line out.
 */
export function visible(text: string): string {
  return text.replace(invisible, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code <= 0xff) return `\\x${code.toString(16).padStart(2, "0")}`;
    return code <= 0xffff ? `\\u${code.toString(16).padStart(4, "0")}` : `\\u{${code.toString(16)}}`;
  });
}
