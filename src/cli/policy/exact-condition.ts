import { AegisError } from "../../errors.js";

/** What stands in the ledger in the place of something that is not told there. */
const told =
  /\[redacted\]|^\[string of \d+ characters\]$|^\[nested deeper\]$|^\[left out\]$|^\[\d+ more (?:items|members)\]$/;

/** Whether a text from the ledger is not, or not wholly, what it was. */
export function isRedacted(text: string): boolean {
  return told.test(text);
}

/**
 * A condition that holds for exactly these arguments: every member, and no other.
 *
 * @param text JSON, as it is or was called with; empty for none
 * @throws AegisError usage where that cannot be said
 */
export function exactCondition(text: string): string {
  return `args == ${literal(text === "" ? {} : (JSON.parse(text) as unknown))}`;
}

function literal(value: unknown): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return string(value);
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  const members = Object.entries(value as object).map(
    ([name, member]) => `${string(name)}: ${literal(member)}`,
  );
  return `{${members.join(", ")}}`;
}

/** Conditions know integers and others apart; arguments are neither, and equal both. */
function number(value: number): string {
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw refusal("a number in them is larger than a condition can compare");
  }
  const text = String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

function string(text: string): string {
  if (isRedacted(text)) {
    throw refusal("they were redacted when the approval ended, and only an open one still has them");
  }
  return JSON.stringify(text);
}

function refusal(why: string): AegisError {
  return new AegisError("usage", `--exact cannot pin these arguments: ${why}.`, {
    hint: "Leave --exact out, or write what matters of them with --when.",
  });
}
