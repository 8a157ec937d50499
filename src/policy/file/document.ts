import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type Pair, parseDocument } from "yaml";

/** A place in a file, both counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export interface Problem extends Position {
  readonly message: string;
}

/** A YAML document as plain values, with the place of each. Its mappings have no prototype (threat P8). */
export interface YamlDocument {
  readonly value: unknown;
  /** Where the value at `path` starts, or the nearest thing around it. */
  positionOf(path: readonly PropertyKey[]): Position;
  /** Where the character at `offset` of the text at `path` is written. */
  positionWithin(path: readonly PropertyKey[], offset: number): Position;
  /** Where `key` of the mapping at `path` is written. */
  positionOfKey(path: readonly PropertyKey[], key: string): Position;
}

/**
 * Reads one YAML 1.2 document of plain text, numbers, lists and mappings. Tags, repeated keys, keys that are not text
 * and aliases without an anchor are problems. An alias shares the value of its anchor instead of copying it, so that a
 * chain of them ("billion laughs") costs what it is long.
 */
export function readDocument(text: string): YamlDocument | readonly Problem[] {
  const counter = new LineCounter();
  const place = (offset: number): Position => {
    const { line, col } = counter.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  try {
    // Repeated keys are found below: the parser's own check is quadratic in the size of a mapping. Not "silent": that
    // would pass over a second document without an error.
    const parsed = parseDocument(text, {
      lineCounter: counter,
      uniqueKeys: false,
      prettyErrors: false,
      logLevel: "error",
    });
    const errors = [...parsed.errors, ...parsed.warnings].toSorted((a, b) => a.pos[0] - b.pos[0]);
    // Nesting that exhausts the parser's stack is followed by an error for every level.
    const exhausted = errors.find((error) => error.code === "RESOURCE_EXHAUSTION");
    if (exhausted !== undefined) return [{ ...place(exhausted.pos[0]), message: tooDeep }];
    if (errors.length > 0) {
      return errors
        .filter((error, index) => error.pos[0] !== errors[index - 1]?.pos[0])
        .map((error) => ({ ...place(error.pos[0]), message: syntaxMessage(error.code, error.message) }));
    }
    return new Reader(place, text).read(parsed.contents);
  } catch (thrown) {
    // The stack, exhausted where the parser does not look for it.
    if (!(thrown instanceof RangeError)) throw thrown;
    return [{ line: 1, column: 1, message: tooDeep }];
  }
}

const tooDeep = "found YAML nested too deeply, expected a policy";

function syntaxMessage(code: string, message: string): string {
  if (code === "TAG_RESOLVE_FAILED") return tagMessage(message.replace(/^Unresolved tag: /, ""));
  if (code === "MULTIPLE_DOCS") return "found a second YAML document, expected one a file";
  return `found invalid YAML: ${message}`;
}

function tagMessage(tag: string): string {
  return `found the YAML tag ${tag.replace("tag:yaml.org,2002:", "!!")}, expected plain text, lists and mappings`;
}

class Reader {
  readonly #place: (offset: number) => Position;
  readonly #problems: Problem[] = [];
  readonly #anchors = new Map<string, { readonly node: Node; readonly value: unknown }>();
  /** What each alias stands for. */
  readonly #targets = new Map<Node, Node>();
  readonly #members = new Map<Node | null, ReadonlyMap<string, Pair<Node, Node | null>>>();

  readonly #text: string;

  constructor(place: (offset: number) => Position, text: string) {
    this.#place = place;
    this.#text = text;
  }

  read(root: Node | null): YamlDocument | readonly Problem[] {
    const value = this.#value(root);
    if (this.#problems.length > 0) return this.#problems;
    return {
      value,
      positionOf: (path) => this.#position(this.#find(root, path)),
      positionWithin: (path, offset) => this.#within(this.#target(this.#find(root, path)), offset),
      positionOfKey: (path, key) => {
        const mapping = this.#target(this.#find(root, path));
        return this.#position(this.#members.get(mapping)?.get(key)?.key ?? mapping);
      },
    };
  }

  #value(node: Node | null): unknown {
    if (node === null) return null;
    if (isAlias(node)) {
      const anchor = this.#anchors.get(node.source);
      if (anchor === undefined)
        return this.#report(node, `found *${node.source}, expected &${node.source} before it`);
      this.#targets.set(node, anchor.node);
      return anchor.value;
    }
    if (node.tag !== undefined) return this.#report(node, tagMessage(node.tag));
    const value = this.#plainValue(node);
    if ("anchor" in node && typeof node.anchor === "string") this.#anchors.set(node.anchor, { node, value });
    return value;
  }

  #plainValue(node: Node): unknown {
    if (isSeq<Node | null>(node)) return node.items.map((item) => this.#value(item));
    if (isMap<Node, Node | null>(node)) {
      const members = new Map<string, Pair<Node, Node | null>>();
      const mapping: Record<string, unknown> = Object.create(null);
      for (const pair of node.items) {
        const { key } = pair;
        const plain = isScalar(key) && key.tag === undefined && typeof key.value === "string";
        const name = plain ? String(key.value) : null;
        if (name === null) this.#report(key, "found a key that is not plain text, expected a word");
        else if (members.has(name))
          this.#report(key, `found the key ${JSON.stringify(name)} again, expected it once`);
        else {
          members.set(name, pair);
          mapping[name] = this.#value(pair.value);
        }
      }
      this.#members.set(node, members);
      return mapping;
    }
    return isScalar(node) ? node.value : null;
  }

  #report(node: Node, message: string): null {
    this.#problems.push({ ...this.#position(node), message });
    return null;
  }

  #position(node: Node | null): Position {
    return this.#place(node?.range?.[0] ?? 0);
  }

  /**
   * Quotes, indentation and folded lines stand between the characters of a text: each is looked for behind the one
   * before. An escape is not recognized, and moves the place by a few characters.
   */
  #within(node: Node | null, offset: number): Position {
    const [start = 0, end = 0] = node?.range ?? [];
    const value = isScalar(node) && typeof node.value === "string" ? node.value : "";
    let at = /^[|>]/.test(this.#text.slice(start, start + 1)) ? this.#text.indexOf("\n", start) + 1 : start;
    for (const character of value.slice(0, Math.min(offset, value.length - 1) + 1)) {
      const found =
        character.trim() === "" ? this.#text.slice(at).search(/\s/) + at : this.#text.indexOf(character, at);
      if (found < at || found >= end) break;
      at = found + 1;
    }
    return this.#place(Math.max(at - 1, start));
  }

  #target(node: Node | null): Node | null {
    return node === null ? null : (this.#targets.get(node) ?? node);
  }

  #find(root: Node | null, path: readonly PropertyKey[]): Node | null {
    let found = root;
    for (const step of path) {
      const inside = this.#target(found);
      let next: Node | null | undefined;
      if (isSeq<Node>(inside)) next = inside.items[Number(step)];
      else next = this.#members.get(inside)?.get(String(step))?.value;
      if (next === undefined || next === null) return found;
      found = next;
    }
    return found;
  }
}
