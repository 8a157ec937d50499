import { decodeString, endOfString, type Span } from "./text.js";
import { FrameError, rpcCodes, type Spans } from "./types.js";

/** Nesting a client may use; JSON.stringify and recursive servers fall over far later (about 5,000). */
export const MAX_NESTING = 64;

/** Members that mean something to the protocol, and so may not have a double that merely looks like them. */
const envelope = ["jsonrpc", "id", "method", "params", "result", "error"];
const parameters = [
  "name",
  "arguments",
  "_meta",
  "task",
  "uri",
  "cursor",
  "ref",
  "argument",
  "context",
  "level",
  "protocolVersion",
  "capabilities",
  "clientInfo",
  "requestId",
  "reason",
  "progressToken",
  "progress",
  "inputResponses",
  "requestState",
  "taskId",
];
const known: ReadonlyArray<ReadonlySet<string>> = [new Set(), new Set(envelope), new Set(parameters)];

/** NFKC, then case: what Go's decoder and tolerant servers fold (CVE-2026-27896: `paramſ`, U+212A). */
export function folded(key: string): string {
  return key.normalize("NFKC").toLowerCase();
}
const foldedKnown = known.map((names) => new Set([...names].map(folded)));

/**
 * Refuses what two parsers could read differently: duplicate keys at any depth, look-alikes of protocol members,
 * nesting over 64. Finds on the way where the members lie that are bound or rewritten.
 *
 * One pass over the text, no recursion. `JSON.parse` keeps the last of two equal keys without a word, and Go's
 * decoder takes `Name` for `name`: what policy saw would not be what the server runs.
 *
 * @param text an object that `JSON.parse` has accepted
 * @throws FrameError
 */
export function scan(text: string): Spans {
  const objects = new KeyStack();
  let depth = 0;
  let expectKey = false;
  let inParams = false;
  /** Members of the envelope and of `params` whose value is being passed. */
  const open: { key: string; start: number }[] = [];
  let id: Span | undefined;
  let name: Span | undefined;
  let args: Span | undefined;

  const endMember = (end: number): void => {
    if (depth > 2 || (depth === 2 && !inParams)) return;
    const member = open[depth];
    if (member === undefined || member.start === 0) return;
    let last = end;
    while (text.charCodeAt(last - 1) <= 32) last--;
    const span = { start: member.start, end: last };
    if (depth === 1 && member.key === "id") id = span;
    else if (depth === 2 && member.key === "name") name = span;
    else if (depth === 2 && member.key === "arguments") args = span;
    member.start = 0;
  };

  for (let i = 0; i < text.length; ) {
    const c = text.charCodeAt(i);
    if (c === 34) {
      const end = endOfString(text, i);
      if (expectKey) {
        const key = decodeString(text, i, end);
        objects.add(depth, key);
        if (depth === 1 || (depth === 2 && inParams)) {
          refuseLookAlike(depth, key);
          open[depth] = { key, start: 0 };
          if (depth === 1) inParams = key === "params";
        }
        expectKey = false;
      }
      i = end;
      continue;
    }
    if (c === 123 || c === 91) {
      if (++depth > MAX_NESTING) {
        throw new FrameError(rpcCodes.invalidRequest, `Refused: nested deeper than ${MAX_NESTING} levels.`);
      }
      expectKey = c === 123;
      objects.open(depth, expectKey);
      open[depth] = { key: "", start: 0 };
    } else if (c === 125 || c === 93) {
      endMember(i);
      depth--;
      expectKey = false;
    } else if (c === 44) {
      endMember(i);
      expectKey = objects.isObject(depth);
    } else if (c === 58 && depth <= 2) {
      const member = open[depth];
      if (member !== undefined && objects.isObject(depth)) {
        let start = i + 1;
        while (text.charCodeAt(start) <= 32) start++;
        member.start = start;
        i = start;
        continue;
      }
    }
    i++;
  }
  return { id, name, arguments: args };
}

/** @throws FrameError where a member of the envelope (depth 1) or of `params` (2) could be taken for another one */
export function refuseLookAlike(depth: number, key: string): void {
  if (known[depth]?.has(key)) return;
  if (foldedKnown[depth]?.has(folded(key))) {
    throw new FrameError(
      rpcCodes.invalidRequest,
      `Refused: the member ${JSON.stringify(key)} only looks like ${JSON.stringify(folded(key))}.`,
    );
  }
}

/** The keys of the objects that are open, one list a level, reused from object to object. */
class KeyStack {
  private readonly lists: string[][] = [];
  private readonly sets: (Set<string> | undefined)[] = [];
  private readonly kinds: boolean[] = [];
  /** While keys come in ascending order (canonical senders) no two can be equal. */
  private readonly ascending: boolean[] = [];

  open(depth: number, isObject: boolean): void {
    this.kinds[depth] = isObject;
    if (!isObject) return;
    const list = this.lists[depth];
    if (list === undefined) this.lists[depth] = [];
    else list.length = 0;
    this.sets[depth] = undefined;
    this.ascending[depth] = true;
  }

  isObject(depth: number): boolean {
    return this.kinds[depth] === true;
  }

  add(depth: number, key: string): void {
    const list = this.lists[depth] ?? [];
    const last = list.at(-1);
    if (this.ascending[depth] && (last === undefined || last < key)) {
      list.push(key);
      return;
    }
    this.ascending[depth] = false;
    // Comparing with a few short strings beats hashing them; from about a dozen on a Set wins.
    const seen = list.length < 12 ? list.includes(key) : this.set(depth, list).has(key);
    if (seen) {
      throw new FrameError(
        rpcCodes.invalidRequest,
        `Refused: the key ${JSON.stringify(key)} stands twice in one object.`,
      );
    }
    list.push(key);
    this.sets[depth]?.add(key);
  }

  private set(depth: number, list: readonly string[]): Set<string> {
    let set = this.sets[depth];
    if (set === undefined) {
      set = new Set(list);
      this.sets[depth] = set;
    }
    return set;
  }
}
