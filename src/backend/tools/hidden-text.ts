/** Characters a reader does not see, or that change how he reads the others (threat D3). Line ends and tabs are text. */
/* oxlint-disable no-control-regex -- control characters are what this is about */
// biome-ignore-start lint/suspicious/noControlCharactersInRegex: control characters are what this is about
const kinds: ReadonlyArray<readonly [string, RegExp]> = [
  ["tag characters", /[\u{e0000}-\u{e007f}]/u],
  ["characters that turn the reading direction", /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u],
  ["terminal escapes", /[\u001b\u009b]/u],
  ["control characters", /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/u],
  [
    "invisible characters",
    /[\p{Cf}\p{Cs}\p{Zl}\p{Zp}]|\u034f|\u115f|\u1160|\u17b4|\u17b5|\u3164|\uffa0|[\u180b-\u180f]|[\ufe00-\ufe0f]|[\u{e0100}-\u{e01ef}]/u,
  ],
];
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: control characters are what this is about

/** An emoji as people write it: its joiners and selectors are part of what is seen. */
const emoji = /[\p{Extended_Pictographic}#*0-9]\ufe0f?\u20e3?(?:\u200d\p{Extended_Pictographic}\ufe0f?)*/gu;

/** What is hidden in these texts: `tag characters`, …; the plainest sign of each kind once. */
export function hiddenIn(texts: Iterable<string>): string[] {
  const found = new Set<string>();
  for (const text of texts) {
    if (isPlain(text)) continue;
    const read = text.replace(emoji, "");
    for (const [kind, form] of kinds) if (form.test(read)) found.add(kind);
  }
  // What is one of the others is not named once more.
  if (found.size > 1) found.delete("invisible characters");
  if (found.has("terminal escapes")) found.delete("control characters");
  return [...found];
}

function isPlain(text: string): boolean {
  return /^[\t\n\r -~]*$/.test(text);
}

/** Every string and member name of a JSON value, at any depth. */
export function* textsIn(value: unknown): Iterable<string> {
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === "string") yield next;
    else if (Array.isArray(next)) for (const item of next as unknown[]) open.push(item);
    else if (typeof next === "object" && next !== null) {
      for (const [name, member] of Object.entries(next)) {
        yield name;
        open.push(member);
      }
    }
  }
}
