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
  const folded = name.normalize("NFKC").toLowerCase().normalize("NFKD").replace(unseen, "");
  let plain = "";
  for (const letter of folded) plain += drawnAlike.get(letter) ?? letter;
  // What is read as one of the others in many typefaces.
  return plain.replace(/[1|]/g, "l").replace(/0/g, "o").replace(/i/g, "l");
}

/** Whether a tool's own name looks as if it were that of a tool of the server with this key: `github__search`. */
export function imitates(name: string, server: string): boolean {
  const at = name.normalize("NFKC").search(/[_‗＿]{2,}/u);
  return at > 0 && skeleton(name.normalize("NFKC").slice(0, at)) === skeleton(server);
}
