import { visible } from "./visible.js";

/** Characters of the longest name. */
export const longestName = 256;

/** Nearly every name, and the id of every call: printable ASCII without spaces. */
const ordinary = /^[!-~]{1,256}$/;

/** Names that were found good. Bounded: a caller that invents names costs time, never memory without end. */
const good = new Set<string>();
const remembered = 4_096;

/**
 * Why a text can not be a name here, or null where it can. A name is compared, shown and stored: what a reader can not
 * see, or SQLite cuts off (NUL), would make two names of one, or one of two (threats K9, L11).
 */
export function nameProblem(name: string): string | null {
  if (good.has(name)) return null;
  const problem = problemOf(name);
  if (problem === null) {
    if (good.size >= remembered) good.clear();
    good.add(name);
  }
  return problem;
}

/** Whether a text can be the id of a call, which is not remembered: the next call has another. */
export function isCallId(id: string): boolean {
  return ordinary.test(id);
}

function problemOf(name: string): string | null {
  if (ordinary.test(name)) return null;
  if (name === "") return "is empty";
  if (name.length > longestName) return `is longer than ${longestName} characters`;
  if (visible(name) !== name) return "holds characters that cannot be seen";
  if (name.trim() !== name) return "begins or ends with white space";
  return name.normalize("NFC") === name ? null : "is not in Unicode normal form C";
}

/** The server that the functions of an SDK's agent belong to; no configured server may be called so. */
export const sdkServer = "sdk";
