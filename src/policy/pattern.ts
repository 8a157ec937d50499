/**
 * Compiles a pattern to its test. The whole text must match, case-sensitively; `*` is any run of characters (also none,
 * also newlines and `__`), everything else stands for itself. No regular expression is built, so nothing backtracks
 * (threat P13): each literal piece is searched once, from where the piece before it ended.
 */
export function compilePattern(pattern: string): (text: string) => boolean {
  const [prefix = "", ...rest] = pattern.split("*");
  const suffix = rest.pop();
  if (suffix === undefined) return (text) => text === pattern;
  const middle = rest.filter((piece) => piece !== "");
  const shortest = prefix.length + suffix.length;
  return (text) => {
    if (text.length < shortest || !text.startsWith(prefix) || !text.endsWith(suffix)) return false;
    const end = text.length - suffix.length;
    let from = prefix.length;
    for (const piece of middle) {
      // The leftmost place is always right: it leaves the most room for the pieces that follow.
      const at = text.indexOf(piece, from);
      if (at === -1 || at + piece.length > end) return false;
      from = at + piece.length;
    }
    return true;
  };
}

/** Whether a pattern can match one text only. */
export function isExact(pattern: string): boolean {
  return !pattern.includes("*");
}

/** Without `__` a pattern speaks of the tool's own name; the loader lets it through only where one server is governed. */
export function ofAction(pattern: string): boolean {
  return pattern.includes("__");
}

/** The text before the first `__` of whatever the pattern matches; null where that may be any. */
export function literalServer(pattern: string): string | null {
  const [literal = ""] = pattern.split("*", 1);
  const end = literal.indexOf("__");
  return end === -1 ? null : literal.slice(0, end);
}
