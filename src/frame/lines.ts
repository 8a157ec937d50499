import { isUtf8 } from "node:buffer";

const NEWLINE = 10;

/**
 * Splits a byte stream into lines of UTF-8. A line over `limit` bytes is passed over up to its end, so that one
 * oversized frame costs its own memory bound and nothing else (threat R1).
 */
export class LineSplitter {
  private parts: Buffer[] = [];
  private size = 0;
  private skipping = false;

  constructor(
    private readonly limit: number,
    private readonly onLine: (line: string) => void,
    private readonly onBad: (problem: "too_long" | "not_utf8") => void,
  ) {}

  push(chunk: Buffer): void {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      this.add(chunk, start, end);
      this.finish();
      start = end + 1;
    }
    this.add(chunk, start, chunk.length);
  }

  /** What stood behind the last newline when the stream ended. */
  end(): void {
    if (this.size > 0) this.finish();
  }

  private add(chunk: Buffer, start: number, end: number): void {
    if (this.skipping || start === end) return;
    this.size += end - start;
    if (this.size > this.limit) {
      this.parts = [];
      this.skipping = true;
      return;
    }
    this.parts.push(chunk.subarray(start, end));
  }

  private finish(): void {
    const { parts, skipping } = this;
    this.parts = [];
    this.size = 0;
    this.skipping = false;
    if (skipping) {
      this.onBad("too_long");
      return;
    }
    const bytes = parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
    // Replacing bad bytes by U+FFFD would forward another name than the one that was decided on (threat P6).
    if (!isUtf8(bytes)) this.onBad("not_utf8");
    else {
      const line = bytes.toString("utf8");
      const text = line.endsWith("\r") ? line.slice(0, -1) : line;
      if (text !== "") this.onLine(text);
    }
  }
}
