import { RE2JS } from "re2js";

/** Longest expression, in characters, and how many are remembered. */
const longestPattern = 1_000;
const remembered = 256;

/** Longest text that is searched, in characters. Beyond it the answer is an error, not a guess. */
export const longestSearched = 1_000_000;

const compiled = new Map<string, RE2JS>();

/**
 * A regular expression in the syntax of RE2: looked for once, it takes time proportional to the text, times at most the
 * size of the expression (threat P13). All of its matches may take as much for each of them: whoever wants them bounds
 * how many. What would need backtracking (lookaround, references back) is not in the syntax.
 *
 * @throws Error where it is not one
 */
export function linearRegex(pattern: string): RE2JS {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  if (pattern.length > longestPattern) throw new Error(`it is longer than ${longestPattern} characters`);
  const regex = RE2JS.compile(pattern);
  if (compiled.size >= remembered) compiled.clear();
  compiled.set(pattern, regex);
  return regex;
}

/** Why this is no regular expression of RE2, in a phrase, or null where it is. */
export function regexProblem(pattern: string): string | null {
  try {
    linearRegex(pattern);
    return null;
  } catch (thrown) {
    return thrown instanceof Error ? thrown.message : "it cannot be read";
  }
}

/**
 * Whether the expression is found anywhere in the text.
 *
 * @throws Error where the expression is none, or the text longer than {@link longestSearched}
 */
export function linearTest(pattern: string, text: string): boolean {
  if (text.length > longestSearched) throw new Error("the text is too long to be searched");
  return linearRegex(pattern).matcher(text).find();
}
