import { diffLines } from "diff";
import { canonicalText } from "../../frame/canonical.js";
import { indentJson } from "./indent-json.js";

/** Milliseconds for one comparison: two long texts with nothing in common take minutes. */
const PATIENCE = 200;
/** Lines around a change. */
const AROUND = 1;

/** JSON text as people read it: members sorted, a line each, numbers and escapes as in its canonical form. */
export function shownJson(text: string): string[] {
  if (text === "") return ["(none)"];
  try {
    return indentJson(canonicalText(text));
  } catch {
    // An original backend keeps whatever it was given.
    return indentJson(text);
  }
}

/**
 * What differs between two JSON texts, as lines that begin with `-`, `+` or a space; empty where nothing does, null
 * where it is too much to compare.
 */
export function changedLines(before: string, after: string): string[] | null {
  const [old, now] = [lineText(before), lineText(after)];
  if (old === now) return [];
  const parts = diffLines(old, now, { timeout: PATIENCE });
  if (parts === undefined) return null;
  return parts.flatMap(({ value, added, removed }, index) => {
    const lines = value.replace(/\n$/, "").split("\n");
    if (added) return lines.map((line) => `+ ${line}`);
    if (removed) return lines.map((line) => `- ${line}`);
    const head = index === 0 ? [] : lines.slice(0, AROUND);
    const tail = index === parts.length - 1 ? [] : lines.slice(Math.max(head.length, lines.length - AROUND));
    const left = lines.length - head.length - tail.length;
    return [
      ...head.map((line) => `  ${line}`),
      ...(left > 0 && index > 0 && index < parts.length - 1 ? ["  …"] : []),
      ...tail.map((line) => `  ${line}`),
    ];
  });
}

/** Without the commas between members: what comes behind a member is no change of it. */
function lineText(text: string): string {
  return `${shownJson(text)
    .map((line) => line.replace(/,$/, ""))
    .join("\n")}\n`;
}
