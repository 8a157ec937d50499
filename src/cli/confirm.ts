import { createInterface } from "node:readline/promises";
import { AegisError } from "../errors.js";
import type { Output } from "./output.js";

/**
 * Asks whoever sits at the terminal; only a yes is one.
 *
 * @param question visible already
 * @param nobody what to say where there is no terminal
 * @param hint what to do there instead
 * @throws AegisError usage where nobody can be asked
 */
export async function confirmed(
  out: Output,
  question: string,
  nobody: string,
  hint = "--yes does it without asking.",
): Promise<boolean> {
  if (out.json || !process.stdin.isTTY || !process.stdout.isTTY)
    throw new AegisError("usage", nobody, { hint });
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
