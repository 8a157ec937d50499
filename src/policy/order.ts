import { baseName } from "./label.js";

interface Placed {
  readonly file: string;
  readonly line: number;
}

/** By file name, then by line: wherever the folder is, and however its files were read. */
export function inOrder(a: Placed, b: Placed): number {
  return compareText(baseName(a.file), baseName(b.file)) || a.line - b.line;
}

/** By code units: the same on every machine. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
