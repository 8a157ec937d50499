import { folded } from "../frame/scan.js";
import { membersOf, type Span, skipSpace } from "../frame/text.js";

/** Members of an answer that mean something. */
const envelope: ReadonlySet<string> = new Set(["jsonrpc", "id", "method", "params", "result", "error"]);

/**
 * Why two clients could find different members of a result in one answer; null where they cannot. `JSON.parse` keeps the
 * last of two equal members, other parsers the first, and Go's takes `Tools` for `tools`: what was pinned would not be
 * what the model reads (threats D1, D2).
 *
 * @param text an answer that `JSON.parse` has accepted
 * @param names members of the result that mean something
 */
export function secondReading(text: string, ...names: readonly string[]): string | null {
  const members = resultMembers(text, names);
  return typeof members === "string" ? members : null;
}

/** As `secondReading`, of a page of a list. The elements are looked at one by one, where they are read. */
export function secondList(text: string, name: string): string | null {
  const members = resultMembers(text, [name, "nextCursor", "_meta"]);
  if (typeof members === "string") return members;
  const list = members.get(name);
  return list === undefined || text[list.start] === "[" ? null : `its ${JSON.stringify(name)} is no list`;
}

/** Why nothing of an answer is passed on. */
export function refusedAnswer(server: string, method: string, why: string): string {
  return `The server ${server} answered ${method} with what clients could read differently: ${why}. Nothing of it was passed on.`;
}

function resultMembers(text: string, names: readonly string[]): Map<string, Span> | string {
  const answer = readMembers(text, skipSpace(text, 0), envelope);
  if (typeof answer === "string") return answer;
  const result = answer.get("result");
  if (result === undefined || text[result.start] !== "{") return new Map();
  return readMembers(text, result.start, new Set(names));
}

/** The members of the object at `start`; why they cannot be told apart, without a word of the server's own, which a model might read. */
function readMembers(text: string, start: number, known: ReadonlySet<string>): Map<string, Span> | string {
  const members = new Map<string, Span>();
  const meanings = new Map([...known].map((name) => [folded(name), name]));
  for (const { key, value } of membersOf(text, start)) {
    const meant = meanings.get(folded(key));
    const name = meant === undefined ? "a member" : JSON.stringify(meant);
    if (members.has(key)) return `${name} stands twice`;
    // Of those that mean nothing here, any number may look alike.
    if (meant !== undefined && meant !== key) return `${name} is written in another way`;
    members.set(key, value);
  }
  return members;
}

/** Whether a parser that does not look at case could take one member of an object for another. */
export function hasLookAlikes(value: object): boolean {
  const keys = Object.keys(value);
  return new Set(keys.map(folded)).size < keys.length;
}
