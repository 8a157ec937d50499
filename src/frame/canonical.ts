import { endOfString, skipSpace } from "./text.js";

/** Deeper than any real tool definition; a client's frame is refused at 64 before it comes here. */
const MAX_DEPTH = 512;
/** From so many members on sorting once beats putting each in its place. */
const MANY = 24;

/**
 * Lossless canonical form of a JSON text: member order and string escaping of RFC 8785, numbers kept as they were
 * written, so that `1`, `1.0` and `9007199254740993` stay three different things. Two texts have the same form exactly
 * when they differ only in white space, member order and escapes.
 *
 * @param text JSON that `JSON.parse` has accepted, without duplicate keys
 * @throws RangeError where it nests deeper than 512
 */
export function canonicalText(text: string): string {
  return new Reader(text).value(0);
}

interface Member {
  readonly key: string;
  /** The member as it goes into the canonical form: `"key":value`. */
  readonly text: string;
}

class Reader {
  private at = 0;
  /** Most texts hold no escape at all: then no literal has to be looked through for one. */
  private readonly escapes: boolean;

  constructor(private readonly text: string) {
    this.escapes = text.includes("\\");
  }

  value(depth: number): string {
    if (depth > MAX_DEPTH) throw new RangeError(`nested deeper than ${MAX_DEPTH}`);
    const { text } = this;
    const start = skipSpace(text, this.at);
    this.at = start;
    switch (text.charCodeAt(start)) {
      case 34:
        return this.string();
      case 123:
        return this.object(depth);
      case 91:
        return this.array(depth);
      default: {
        let end = start;
        for (; end < text.length; end++) {
          const c = text.charCodeAt(end);
          if (c === 44 || c === 125 || c === 93 || c <= 32) break;
        }
        if (end === start) throw new SyntaxError("not JSON");
        this.at = end;
        return text.slice(start, end);
      }
    }
  }

  private string(): string {
    const { text } = this;
    const start = this.at;
    const end = endOfString(text, start);
    this.at = end;
    const raw = text.slice(start, end);
    // JSON.stringify escapes as RFC 8785 section 3.2.2.2 does, and lone surrogates as \udXXX.
    return this.escapes && raw.includes("\\") ? JSON.stringify(JSON.parse(raw)) : raw;
  }

  private object(depth: number): string {
    const { text } = this;
    const members: Member[] = [];
    let sorted = true;
    this.at = skipSpace(text, this.at + 1);
    while (text.charCodeAt(this.at) !== 125) {
      const literal = this.string();
      const key = this.escapes && literal.includes("\\") ? String(JSON.parse(literal)) : literal.slice(1, -1);
      this.at = skipSpace(text, this.at) + 1;
      const member = { key, text: `${literal}:${this.value(depth + 1)}` };
      if (sorted && members.length < MANY) insert(members, member);
      else {
        sorted = false;
        members.push(member);
      }
      this.at = this.separator(125);
    }
    this.at++;
    if (!sorted) members.sort((a, b) => (a.key < b.key ? -1 : 1));
    let out = "{";
    for (const member of members) out += out.length > 1 ? `,${member.text}` : member.text;
    return `${out}}`;
  }

  private array(depth: number): string {
    const { text } = this;
    let out = "[";
    this.at = skipSpace(text, this.at + 1);
    while (text.charCodeAt(this.at) !== 93) {
      if (out.length > 1) out += ",";
      out += this.value(depth + 1);
      this.at = this.separator(93);
    }
    this.at++;
    return `${out}]`;
  }

  /** Behind a member or element: moves over a comma, or stands at the closing bracket. */
  private separator(close: number): number {
    const at = skipSpace(this.text, this.at);
    const c = this.text.charCodeAt(at);
    if (c === 44) return skipSpace(this.text, at + 1);
    if (c === close) return at;
    throw new SyntaxError("not JSON");
  }
}

/** RFC 8785 section 3.2.3: in the order of UTF-16 code units, which is how JavaScript compares strings. */
function insert(members: Member[], member: Member): void {
  let at = members.length;
  members.push(member);
  for (
    let before = members[at - 1];
    before !== undefined && member.key < before.key;
    before = members[at - 1]
  ) {
    members[at--] = before;
  }
  members[at] = member;
}
