/**
 * Letters of other scripts that are drawn like Latin ones, as far as tool names are made to deceive with them: the common
 * ones of the Cyrillic and Greek alphabets (Unicode TR 39). Fullwidth forms, ligatures and the like fall together by NFKC.
 */
const drawnAlike: ReadonlyMap<string, string> = new Map(
  Object.entries({
    a: "аα",
    b: "ьЬβ",
    c: "сϲ",
    d: "ԁ",
    e: "еєε",
    g: "ɡ",
    h: "һ",
    i: "іιıӏ",
    j: "јϳ",
    k: "кκ",
    l: "ⅼ",
    m: "мμ",
    n: "пη",
    o: "оοσօ",
    p: "рρ",
    q: "ԛ",
    r: "г",
    s: "ѕ",
    t: "тτ",
    u: "υս",
    v: "ѵν",
    w: "ԝω",
    x: "хχ",
    y: "уүγ",
    z: "ζ",
  }).flatMap(([latin, others]) => Array.from(others, (other) => [other, latin] as const)),
);

/** Nothing of these is seen, or nobody looks at it: `read-file`, `read.file` and `read_file` are one to a reader. */
const unseen = /[\p{Cf}\p{Cc}\p{Mn}\p{Z}_.\-‐-―−]/gu;

/** Two names with the same skeleton can be taken for one another. Case, separators and alphabet do not count in it. */
export function skeleton(name: string): string {
  // What is read as one of the others in many typefaces.
  return folded(name).replace(/[1|i]/g, "l").replace(/0/g, "o");
}

/** Whether the one has a digit or a bar where the other has a letter; both have the same skeleton. */
export function isDisguised(name: string, other: string): boolean {
  const [letters, others] = [folded(name), folded(other)];
  for (let at = 0; at < letters.length; at++)
    if (/[01|]/.test(letters.charAt(at)) && /[iol]/.test(others.charAt(at))) return true;
  return false;
}

/** As it is read by somebody who looks closely. */
function folded(name: string): string {
  let plain = "";
  for (const letter of name.normalize("NFKC").toLowerCase().normalize("NFKD").replace(unseen, ""))
    plain += drawnAlike.get(letter) ?? letter;
  return plain;
}

/**
 * The {@link skeleton} of the server that a tool's own name begins with, as if it were a tool of it: `github__search`.
 * Null where it begins with none.
 */
export function imitated(name: string): string | null {
  const plain = name.normalize("NFKC");
  const at = plain.search(/[_‗＿]{2,}/u);
  return at > 0 ? skeleton(plain.slice(0, at)) : null;
}
