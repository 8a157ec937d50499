import { styleText } from "node:util";
import { visible } from "../visible.js";
import { width } from "./columns.js";

type Style = Parameters<typeof styleText>[0];

/**
 * Where a command's results go. Foreign text is made visible by whoever puts it in; colour is added on a terminal only,
 * and not where NO_COLOR or a dumb terminal asks for none.
 */
export class Output {
  private guarded = false;

  constructor(
    /** Lines of JSON instead of text for people. */
    readonly json: boolean,
    private readonly stdout: NodeJS.WriteStream = process.stdout,
    private readonly stderr: NodeJS.WriteStream = process.stderr,
  ) {}

  line(text = ""): void {
    if (!this.guarded) {
      this.guarded = true;
      // A reader that has seen enough (`aegis log | head`) is not an error. Not for `wrap` and `gateway`, which write
      // frames instead of lines and have calls to end.
      this.stdout.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "EPIPE") process.exit(0);
        throw error;
      });
    }
    this.stdout.write(`${text}\n`);
  }

  /** One document on one line. */
  document(value: unknown): void {
    this.line(terminalJson(JSON.stringify(value)));
  }

  warn(sentence: string): void {
    this.stderr.write(`${colour(this.stderr, "yellow", "warning:")} ${visible(sentence)}\n`);
  }

  /** For people who run it, never for scripts: where something was written, what happens next. */
  say(sentence: string): void {
    this.stderr.write(`${visible(sentence)}\n`);
  }

  /** Of the terminal; null where it is none. */
  get columns(): number | null {
    return this.stdout.isTTY && this.stdout.columns > 0 ? this.stdout.columns : null;
  }

  style(style: Style, text: string): string {
    return colour(this.stdout, style, text);
  }

  /** Columns as wide as their widest cell, the last one as it comes. Cells hold no escape sequences. */
  table(header: readonly string[], rows: ReadonlyArray<readonly Cell[]>): void {
    const cells = rows.map((row) => row.map((cell) => (typeof cell === "string" ? { text: cell } : cell)));
    const widths = header.map((title, column) =>
      Math.max(title.length, ...cells.map((row) => width(row[column]?.text ?? ""))),
    );
    const padded = (text: string, column: number): string =>
      column === header.length - 1 ? "" : " ".repeat((widths[column] ?? 0) - width(text) + 2);
    this.line(header.map((title, column) => this.style("bold", title) + padded(title, column)).join(""));
    for (const row of cells) {
      this.line(
        row
          .map(({ text, style }, column) => (style ? this.style(style, text) : text) + padded(text, column))
          .join(""),
      );
    }
  }
}

export type Cell = string | { readonly text: string; readonly style?: Style };

/** The style in which a decision or a state is shown. */
export function styleOf(word: string): Style {
  if (/^(ALLOW|ACTIVE|approved|consumed|ok)$/.test(word)) return "green";
  if (/^(REVIEW|pending|warning|waiting|expired|void)$/.test(word)) return "yellow";
  return /^(BLOCK|KILLED|denied|broken|refused|unknown|killed)$/.test(word) ? "red" : "dim";
}

/**
 * JSON text on one line in which nothing hides: `JSON.stringify` leaves C1 controls and bidirectional overrides as they
 * are, and a terminal obeys them (threat U3). The value stays the same.
 */
export function terminalJson(json: string): string {
  const line = json.replace(/[\n\r\t]/g, " ");
  if (visible(line) === line) return line;
  return Array.from(line, (character) =>
    visible(character) === character ? character : character.split("").map(unit).join(""),
  ).join("");
}

function unit(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** `3 min ago`, `in 55 min`, for an ISO 8601 time. */
export function relativeTime(iso: string, now: number = Date.now()): string {
  const seconds = Math.round((Date.parse(iso) - now) / 1000);
  if (Number.isNaN(seconds)) return visible(iso);
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const amount =
    size < 100
      ? `${size} s`
      : size < 5400
        ? `${Math.round(size / 60)} min`
        : size < 129_600
          ? `${Math.round(size / 3600)} h`
          : `${Math.round(size / 86_400)} d`;
  return seconds < 0 ? `${amount} ago` : `in ${amount}`;
}

function colour(stream: NodeJS.WriteStream, style: Style, text: string): string {
  if (!stream.isTTY || !stream.hasColors() || process.env.NO_COLOR) return text;
  return styleText(style, text);
}
