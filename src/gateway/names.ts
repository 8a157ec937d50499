import { createHash } from "node:crypto";

/** Clients prefix names once more, and cap them at 60 to 64 characters. */
const LONGEST = 48;

/** The canonical name of a tool: what policies and the ledger say, whatever the client sees. */
export function actionOf(server: string, tool: string): string {
  return `${server}__${tool}`;
}

/**
 * The name under which the merged endpoint shows a tool or prompt. Injective: keys hold no `__` and do not end in `_`,
 * and a name that had to be shortened carries a hash of the whole.
 */
export function exposedName(server: string, name: string): string {
  const full = actionOf(server, name);
  if (full.length <= LONGEST) return full;
  const hash = createHash("sha256").update(full).digest("hex").slice(0, 8);
  return `${full.slice(0, LONGEST - 9)}_${hash}`;
}

/** False where no tool of this server can be exposed under the name. */
export function mayBeOf(server: string, exposed: string): boolean {
  return exposed.startsWith(`${server}__`) || exposed.length === LONGEST;
}
