import { visible } from "../../visible.js";
import { hardWrap, wordWrap } from "../columns.js";
import type { Output } from "../output.js";
import type { Piece } from "./fold.js";

type Style = Parameters<Output["style"]>[0];

/** Columns of the names of fields, with the space before and behind. */
const NAMES = 13;

/**
 * What is known of one thing, a field a line. A line that is longer than the terminal is broken here, below its own
 * beginning: one that the terminal breaks could look like a field of ours (threat U4).
 */
export class Card {
  private readonly columns: number;

  constructor(private readonly out: Output) {
    this.columns = Math.max(out.columns ?? Number.POSITIVE_INFINITY, 40);
  }

  /** What it is: never broken by the terminal. @param text visible already, the first `strong` characters of it bold */
  head(text: string, strong: number): void {
    const [first = "", ...rest] = wordWrap(text, this.columns);
    this.out.line(this.out.style("bold", first.slice(0, strong)) + first.slice(strong));
    for (const line of rest)
      for (const piece of hardWrap(line, this.columns - 4)) this.out.line(`    ${piece}`);
  }

  /** @param text visible already */
  field(name: string, text: string, style?: Style): void {
    const [first = "", ...rest] = wordWrap(text, this.columns - NAMES);
    const styled = (line: string): string => (style === undefined ? line : this.out.style(style, line));
    this.out.line(`  ${name.padEnd(NAMES - 2)}${styled(first)}`);
    for (const line of rest) this.out.line(" ".repeat(NAMES) + styled(line));
  }

  /** Lines of a text that is not ours, behind a bar: nothing in them can stand where our words do. */
  quote(
    pieces: readonly Piece[],
    whole: string,
    styleOf: (line: string) => Style | undefined = () => undefined,
  ): void {
    const { out } = this;
    for (const piece of pieces) {
      if ("hidden" in piece) {
        const bytes = piece.hidden.toLocaleString("en-US");
        const what = piece.blank === true ? "bytes of spaces" : "bytes";
        out.line(out.style("yellow", `    ⋮ ${bytes} ${what} not shown here; all of it: ${whole}`));
        continue;
      }
      const style = styleOf(piece.line);
      let bar = "│";
      for (const line of hardWrap(visible(piece.line), this.columns - 6)) {
        out.line(`    ${out.style("dim", bar)} ${style === undefined ? line : out.style(style, line)}`);
        bar = "┊";
      }
    }
  }
}
