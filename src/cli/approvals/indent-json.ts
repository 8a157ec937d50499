/**
 * JSON text as indented lines. Works on the text, not on its value: numbers, escapes and the order of members stay as
 * they were written, so that what a person reads is what would run.
 */
export function indentJson(text: string): string[] {
  const lines: string[] = [];
  let line = "";
  let depth = 0;
  const flush = (): void => {
    if (line.trim() !== "") lines.push(line.trimEnd());
    line = "  ".repeat(depth);
  };
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+|"/gs) ?? [];
  for (const [index, token] of tokens.entries()) {
    const closes = token === "}" || token === "]";
    const opens = token === "{" || token === "[";
    const previous = tokens[index - 1];
    const emptyPair = closes && (previous === "{" || previous === "[");
    if (closes) {
      depth = Math.max(0, depth - 1);
      if (!emptyPair) flush();
    }
    line += token === ":" ? ": " : token;
    const next = tokens[index + 1];
    if (opens) {
      depth++;
      if (next !== "}" && next !== "]") flush();
    } else if (token === ",") {
      flush();
    }
  }
  depth = 0;
  flush();
  return lines;
}
