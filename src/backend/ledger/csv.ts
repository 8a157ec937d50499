import { visible } from "../../visible.js";

/** What stands in the columns before the body, which is the last. */
const members = [
  "id",
  "at",
  "kind",
  "agent",
  "principal",
  "server",
  "tool",
  "action",
  "call",
  "decision",
  "outcome",
  "rule",
  "reason",
  "approval",
] as const;

export const csvHeader: string = [...members, "body"].join(",");

/** How a spreadsheet recognizes a formula (threat U6). */
const formula = /^[=+\-@\t\r]/;

/** A record as one row: the body too, so that it verifies. Rows end with a line feed, and hold none (threat L11). */
export function csvRow(body: string): string {
  const record = membersOf(body);
  return [...members.map((member) => cell(record[member])), quoted(body)].join(",");
}

/** A row that is no record: what the export says of itself. */
export function csvRemark(kind: string, body: string): string {
  return [...members.map((member) => (member === "kind" ? kind : "")), quoted(body)].join(",");
}

/** The last cell of a row; null where it is no row of ours. */
export function bodyOfRow(row: string): string | null {
  let at = 0;
  for (let column = 0; column < members.length; column++) {
    if (row[at] === '"') {
      at = endOfQuoted(row, at);
      if (at < 0) return null;
    } else {
      const comma = row.indexOf(",", at);
      if (comma < 0) return null;
      at = comma;
    }
    if (row[at] !== ",") return null;
    at++;
  }
  if (row[at] !== '"' || endOfQuoted(row, at) !== row.length) return null;
  return row.slice(at + 1, -1).replaceAll('""', '"');
}

/** Of a record that somebody has damaged: none. What it holds is exported as it is. */
function membersOf(body: string): Record<string, unknown> {
  try {
    return (JSON.parse(body) as Record<string, unknown> | null) ?? {};
  } catch {
    return {};
  }
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "number") return String(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const harmless = formula.test(text) ? `'${text}` : text;
  return quoted(visible(harmless));
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

/** Behind the quotation mark that closes the cell; negative where none does. */
function endOfQuoted(row: string, start: number): number {
  for (let at = start + 1; ; at += 2) {
    at = row.indexOf('"', at);
    if (at < 0) return -1;
    if (row[at + 1] !== '"') return at + 1;
  }
}
