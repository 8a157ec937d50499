const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const BACKSLASH = 92;
const CLOSE = 125;

/** Canonical forms of what is no string: RFC 8785 section 3.2.2. */
const literals = new Set(["true", "false", "null"]);
/** RFC 8785 section 3.2.2.2: what has a short escape has no other, and only what must be escaped is. */
const escapeForm = /^\\(?:["\\bfnrt]|u00(?:0[0-7be]|0f|1[0-9a-f]))/;
/** What comes before the space: JSON has none of it, in strings or, in canonical form, between them. */
const control = /[^ -\uffff]/;

/**
 * What verification asks of a record's body. A parser of JSON is twice as slow and less strict: it takes a key that
 * stands there twice, any white space, any order, any way to write a number — two readers could then read one body
 * differently. Here whatever is not canonical (RFC 8785), or not one object of plain values, is a flaw.
 *
 * One reader reads many bodies: its members are those of the last one.
 */
export class BodyReader {
  id: number | null = null;
  prev: string | null = null;
  kind: string | null = null;
  agent: string | null = null;
  call: string | null = null;
  decision: string | null = null;
  release = false;

  private text = "";
  private at = 0;
  /** The next backslash: a string that ends before it needs no look at each of its characters. */
  private backslash = 0;

  /** Why this is not the body of a record, or null. */
  read(text: string): string | null {
    this.text = text;
    this.at = 1;
    this.id = null;
    this.prev = this.kind = this.agent = this.call = this.decision = null;
    this.release = false;
    this.backslash = 0;
    if (text.charCodeAt(0) !== 123) return "it is no JSON object";
    if (control.test(text)) return "it holds a control character";
    let before = "";
    for (;;) {
      const key = this.key();
      if (key === null) return this.problem();
      if (key <= before) return `its member ${key} is there twice, or in the wrong place`;
      before = key;
      if (!this.member(key)) return this.problem();
      const next = text.charCodeAt(this.at++);
      if (next === CLOSE) break;
      if (next !== COMMA) return this.problem();
    }
    if (this.at !== text.length) return "there is something behind its end";
    return this.id === null || this.prev === null || this.kind === null ? "it lacks id, prev or kind" : null;
  }

  private problem(): string {
    return `it is not canonical JSON of plain values at character ${Math.min(this.at, this.text.length)}`;
  }

  /** The name of the next member, up to its colon; null where there is none. Our names are small letters. */
  private key(): string | null {
    const { text } = this;
    if (text.charCodeAt(this.at) !== QUOTE) return null;
    const start = ++this.at;
    for (let c = text.charCodeAt(this.at); c !== QUOTE; c = text.charCodeAt(++this.at)) {
      if (!((c >= 97 && c <= 122) || c === 95)) return null;
    }
    if (this.at === start || text.charCodeAt(this.at + 1) !== COLON) return null;
    const key = text.slice(start, this.at);
    this.at += 2;
    return key;
  }

  private member(key: string): boolean {
    const { text } = this;
    const start = this.at;
    if (text.charCodeAt(start) === QUOTE) {
      const escaped = this.string();
      if (escaped === null) return false;
      if (key === "prev" || key === "kind" || key === "agent" || key === "call" || key === "decision") {
        this[key] = escaped
          ? (JSON.parse(text.slice(start, this.at)) as string)
          : text.slice(start + 1, this.at - 1);
      }
      return true;
    }
    const literal = this.literal();
    if (key === "id") {
      this.id = Number(literal);
      return Number.isSafeInteger(this.id) && String(this.id) === literal;
    }
    if (key === "release") this.release = true;
    else if (key === "prev" || key === "kind" || key === "agent" || key === "call" || key === "decision") {
      return false;
    }
    return literals.has(literal) || canonicalNumber(literal);
  }

  /** Passes over a string; whether it holds escapes, or null where it is no canonical one. */
  private string(): boolean | null {
    const { text } = this;
    const end = text.indexOf('"', this.at + 1);
    if (this.backslash < this.at) this.backslash = nextBackslash(text, this.at);
    if (end > 0 && end < this.backslash) {
      this.at = end + 1;
      return false;
    }
    let escaped = false;
    let { at } = this;
    for (;;) {
      const c = text.charCodeAt(++at);
      if (c === QUOTE) break;
      if (c === BACKSLASH) {
        escaped = true;
        // By far the most frequent ones: the arguments are JSON text in a JSON string.
        const next = text.charCodeAt(at + 1);
        if (next === QUOTE || next === BACKSLASH) {
          at++;
          continue;
        }
        const [found] = escapeForm.exec(text.slice(at, at + 6)) ?? [];
        if (found === undefined) {
          this.at = at;
          return null;
        }
        at += found.length - 1;
      } else if (Number.isNaN(c)) {
        this.at = at;
        return null;
      }
    }
    this.at = at + 1;
    return escaped;
  }

  private literal(): string {
    const { text } = this;
    const start = this.at;
    for (let c = text.charCodeAt(this.at); c !== COMMA && c !== CLOSE; c = text.charCodeAt(++this.at)) {
      if (this.at - start > 32 || Number.isNaN(c)) break;
    }
    return text.slice(start, this.at);
  }
}

function nextBackslash(text: string, from: number): number {
  const found = text.indexOf("\\", from);
  return found < 0 ? text.length : found;
}

function canonicalNumber(literal: string): boolean {
  const value = Number(literal);
  return literal !== "" && Number.isFinite(value) && String(value) === literal;
}
