/** A part of a text, from `start` up to `end`, which is not in it. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * Secrets that show by their form. Every run is bounded, or cannot fail once it has begun: the time is proportional to
 * the text (threat P13).
 */
const forms = new RegExp(
  [
    "-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[^]*?(?:-----END [A-Z0-9 ]{0,60}-----|$)",
    "(?<=\\b[a-z][a-z0-9+.-]{1,20}://)[^\\s/?#]{1,300}(?=@)",
    "(?<=(?:password|passwd|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|authorization|cookie)" +
      "[\"']?\\s{0,3}[=:]\\s{0,3}[\"']?)(?:(?:bearer|basic|token)\\s{1,3})?[^\\s\"'&;,]{3,}",
    "(?<=\\b(?:bearer|basic)\\s{1,3})[a-z0-9._~+/=-]{8,}",
    "\\bsk[-_][a-z0-9_-]{16,}",
    "\\brk_(?:live|test)_[a-z0-9]{16,}",
    "\\bgh[pousr]_[a-z0-9]{16,}",
    "\\bgithub_pat_[a-z0-9_]{16,}",
    "\\bglpat-[a-z0-9_-]{16,}",
    "\\bnpm_[a-z0-9]{30,}",
    "\\bhf_[a-z0-9]{30,}",
    "\\b(?:AKIA|ASIA)[A-Z0-9]{16}",
    "\\bAIza[a-z0-9_-]{30,}",
    "\\bya29\\.[a-z0-9_-]{20,}",
    "\\bxox[a-z]-[a-z0-9-]{8,}",
    "\\baegis_[a-z0-9_-]{32,}",
  ].join("|"),
  "gi",
);

/** The head of a signed token. What must follow is looked at by itself: a head without it must not be read twice. */
const tokenHead = /\beyJ[a-z0-9_-]{8,}/gi;
const tokenRest = /\.[a-z0-9_-]{4,}(?:\.[a-z0-9_-]*)?/iy;

/** What all of them have in common, found in one pass: most strings hold none of it. */
const suspicious = /[-_]|:\/\/|[=:]|bearer|basic|eyJ|AKIA|ASIA|AIza|ya29/i;

/** Where the text holds what can only be a secret, in order; none of them overlap. */
export function secretsIn(text: string): readonly Span[] {
  if (text.length < 8 || !suspicious.test(text)) return [];
  const found: Span[] = [];
  // Not `matchAll`, which makes an expression of its own each time: short strings come by the thousand.
  forms.lastIndex = 0;
  for (let match = forms.exec(text); match !== null; match = forms.exec(text))
    found.push({ start: match.index, end: forms.lastIndex });
  tokenHead.lastIndex = 0;
  for (let head = tokenHead.exec(text); head !== null; head = tokenHead.exec(text)) {
    tokenRest.lastIndex = tokenHead.lastIndex;
    if (tokenRest.test(text)) found.push({ start: head.index, end: tokenRest.lastIndex });
  }
  return united(found);
}

/** The same places in order, those that overlap as one. */
export function united(spans: Span[]): readonly Span[] {
  if (spans.length < 2) return spans;
  spans.sort((a, b) => a.start - b.start);
  const one: Span[] = [];
  for (const span of spans) {
    const last = one.at(-1);
    if (last !== undefined && span.start < last.end)
      one[one.length - 1] = { start: last.start, end: Math.max(last.end, span.end) };
    else one.push(span);
  }
  return one;
}

/** `text` with each of `spans` (in order, apart from one another) replaced by the same words. */
export function replaced(text: string, spans: readonly Span[], by: string): string {
  let out = "";
  let at = 0;
  for (const { start, end } of spans) {
    out += text.slice(at, start) + by;
    at = end;
  }
  return out + text.slice(at);
}
