/**
 * Lossless canonical form of JSON: member order and string escaping of RFC 8785, numbers kept as they were written, so
 * that `1`, `1.0` and `9007199254740993` stay three different things. Two texts have the same form exactly when they
 * differ only in white space, member order and escapes.
 *
 * Every governed call passes here, with arguments of any size: it works on bytes, copies most of them as they are, and
 * makes no string but for keys and values with escapes.
 */

/** Deeper than any real tool definition; a client's frame is refused at 64 before it comes here. */
const MAX_DEPTH = 512;
/** Up to here a byte loop is faster than the call that copies a range. */
const SHORT = 160;

/** Objects with more members than this are sorted by the library. */
const MANY = 24;

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const BACKSLASH = 92;

/**
 * @param text JSON that `JSON.parse` has accepted, without duplicate keys
 * @throws RangeError where it nests deeper than 512
 */
export function canonicalText(text: string): string {
  return canonicalBytes(Buffer.from(text, "utf8")).toString("utf8");
}

/**
 * As `canonicalText`, of a text that nobody has looked at for duplicate keys: two parsers would read two things in it.
 *
 * @throws RangeError also where a key stands twice in one object
 */
export function uniqueCanonicalText(text: string): string {
  const writer = new Writer(Buffer.from(text, "utf8"), true);
  writer.value(0);
  return writer.out.toString("utf8", 0, writer.end);
}

/** As `canonicalText`, from UTF-8 to UTF-8. */
export function canonicalBytes(source: Uint8Array): Buffer {
  const writer = new Writer(source);
  writer.value(0);
  return writer.out.subarray(0, writer.end);
}

class Writer {
  /** Never longer than the source: the canonical escape of a character is its shortest. */
  readonly out: Buffer;
  end = 0;
  private at = 0;
  private scratch = Buffer.alloc(0);
  private readonly source: Uint8Array;

  constructor(
    source: Uint8Array,
    private readonly unique = false,
  ) {
    // One kind of array in the loops: a call site that sees two is several times as slow.
    this.source = Buffer.from(source.buffer, source.byteOffset, source.length);
    this.out = Buffer.allocUnsafe(source.length);
  }

  value(depth: number): void {
    if (depth > MAX_DEPTH) throw new RangeError(`nested deeper than ${MAX_DEPTH}`);
    this.skipSpace();
    switch (this.source[this.at]) {
      case QUOTE:
        this.string();
        break;
      case 123:
        this.object(depth);
        break;
      case 91:
        this.array(depth);
        break;
      default:
        this.literal();
    }
  }

  private object(depth: number): void {
    const { source } = this;
    /** Where each member starts in `out`, and where its key ends. */
    const starts: number[] = [];
    const keyEnds: number[] = [];
    let sorted = true;
    this.put(123);
    this.at++;
    for (this.skipSpace(); source[this.at] !== 125; this.skipSpace()) {
      if (starts.length > 0) this.separator();
      const start = this.end;
      this.string();
      const keyEnd = this.end;
      const last = starts.length - 1;
      if (sorted && last >= 0) {
        sorted = this.compare(starts[last] ?? 0, keyEnds[last] ?? 0, start, keyEnd) < 0;
      }
      starts.push(start);
      keyEnds.push(keyEnd);
      this.skipSpace();
      this.at++;
      this.put(COLON);
      this.value(depth + 1);
    }
    this.at++;
    if (!sorted) this.reorder(starts, keyEnds);
    this.put(125);
  }

  private array(depth: number): void {
    const { source } = this;
    this.put(91);
    this.at++;
    let first = true;
    for (this.skipSpace(); source[this.at] !== 93; this.skipSpace()) {
      if (!first) this.separator();
      first = false;
      this.value(depth + 1);
    }
    this.at++;
    this.put(93);
  }

  private separator(): void {
    if (this.source[this.at] !== COMMA) throw new SyntaxError("not JSON");
    this.at++;
    this.put(COMMA);
    this.skipSpace();
  }

  private literal(): void {
    const { source, out } = this;
    let { at, end } = this;
    for (; at < source.length; at++) {
      const c = source[at] ?? 0;
      if (c === COMMA || c === 125 || c === 93 || c <= 32) break;
      out[end++] = c;
    }
    if (at === this.at) throw new SyntaxError("not JSON");
    this.at = at;
    this.end = end;
  }

  private string(): void {
    const { source } = this;
    const start = this.at;
    let at = start + 1;
    let escaped = false;
    for (let c = source[at]; c !== QUOTE; c = source[at]) {
      if (c === undefined) throw new SyntaxError("not JSON");
      if (c === BACKSLASH) {
        escaped = true;
        at++;
      }
      at++;
    }
    this.at = at + 1;
    if (!escaped) {
      this.copy(start, at + 1);
      return;
    }
    // JSON.stringify escapes as RFC 8785 section 3.2.2.2 does, and lone surrogates as \udXXX.
    const literal = Buffer.from(source.buffer, source.byteOffset + start, at + 1 - start).toString("utf8");
    this.end += this.out.write(JSON.stringify(JSON.parse(literal)), this.end);
  }

  private copy(start: number, end: number): void {
    move(this.source, start, end, this.out, this.end);
    this.end += end - start;
  }

  private put(byte: number): void {
    this.out[this.end++] = byte;
  }

  private skipSpace(): void {
    const { source } = this;
    let { at } = this;
    for (let c = source[at]; c === 32 || c === 10 || c === 13 || c === 9; c = source[at]) at++;
    this.at = at;
  }

  /**
   * RFC 8785 section 3.2.3: by UTF-16 code units. Bytes have that order as long as they are ASCII and stand for
   * themselves; at the first other one the keys are compared as strings.
   */
  private compare(a: number, aEnd: number, b: number, bEnd: number): number {
    const { out } = this;
    const length = Math.min(aEnd - a, bEnd - b) - 1;
    for (let i = 1; i < length; i++) {
      const x = out[a + i] ?? 0;
      const y = out[b + i] ?? 0;
      if (x >= 128 || y >= 128 || x === BACKSLASH || y === BACKSLASH)
        return this.compareText(a, aEnd, b, bEnd);
      if (x !== y) return x - y;
    }
    return aEnd - a === bEnd - b ? 0 : this.compareText(a, aEnd, b, bEnd);
  }

  private compareText(a: number, aEnd: number, b: number, bEnd: number): number {
    const x = String(JSON.parse(this.out.toString("utf8", a, aEnd)));
    const y = String(JSON.parse(this.out.toString("utf8", b, bEnd)));
    return x < y ? -1 : Number(x > y);
  }

  /** Puts the members of the object that ends here into order. */
  private reorder(starts: readonly number[], keyEnds: readonly number[]): void {
    const { out } = this;
    const [first = 0] = starts;
    const length = this.end - first;
    if (this.scratch.length < length) this.scratch = Buffer.allocUnsafe(2 * length);
    const { scratch } = this;
    move(out, first, this.end, scratch, 0);
    let to = first;
    const order = this.order(starts, keyEnds);
    if (this.unique) this.refuseDoubles(order, starts, keyEnds);
    for (const index of order) {
      const start = (starts[index] ?? 0) - first;
      // Behind each member but the last stands a comma.
      const end = index + 1 < starts.length ? (starts[index + 1] ?? 0) - first - 1 : length;
      if (to > first) out[to++] = COMMA;
      move(scratch, start, end, out, to);
      to += end - start;
    }
  }

  /** Equal keys are never in order, and stand side by side once they were sorted. */
  private refuseDoubles(
    order: readonly number[],
    starts: readonly number[],
    keyEnds: readonly number[],
  ): void {
    for (let i = 1; i < order.length; i++) {
      const [a = 0, b = 0] = [order[i - 1], order[i]];
      const compared = this.compare(starts[a] ?? 0, keyEnds[a] ?? 0, starts[b] ?? 0, keyEnds[b] ?? 0);
      if (compared === 0) throw new RangeError("a key stands twice in one object");
    }
  }

  private order(starts: readonly number[], keyEnds: readonly number[]): number[] {
    const compare = (a: number, b: number): number =>
      this.compare(starts[a] ?? 0, keyEnds[a] ?? 0, starts[b] ?? 0, keyEnds[b] ?? 0);
    const order: number[] = [];
    if (starts.length > MANY) return starts.map((_, index) => index).toSorted(compare);
    for (let index = 0; index < starts.length; index++) {
      let at = index;
      for (; at > 0 && compare(index, order[at - 1] ?? 0) < 0; at--) order[at] = order[at - 1] ?? 0;
      order[at] = index;
    }
    return order;
  }
}

function move(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > SHORT) to.set(from.subarray(start, end), at);
  else for (let i = start, o = at; i < end; i++, o++) to[o] = from[i] ?? 0;
}
