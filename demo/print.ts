/** How the story looks: plain text, with colour on a terminal only. */
import { styleText } from "node:util";

const coloured = process.stdout.isTTY && process.stdout.hasColors() && !process.env.NO_COLOR;
const styled = (style: Parameters<typeof styleText>[0], text: string): string =>
  coloured ? styleText(style, text) : text;

export const bold = (text: string): string => styled("bold", text);
export const dim = (text: string): string => styled("dim", text);

let steps = 0;

/** The next sentence of the story. */
export function step(sentence: string): void {
  steps++;
  console.log(`\n${bold(`${steps}. ${sentence}`)}\n`);
}

/** Something that was said or written, indented. */
export function shown(text: string): void {
  console.log(text.trimEnd().replaceAll(/^/gm, "   "));
}

/** A command in another terminal, and what it printed. */
export function command(line: string, output: string): void {
  shown(`${styled("cyan", `$ ${line}`)}\n${output}`);
}
