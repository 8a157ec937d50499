import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from "yaml";
import { durationExamples, parseDuration } from "./duration.js";
import { AegisError, reasonOf } from "./errors.js";
import { nearest } from "./suggest.js";
import { visible } from "./visible.js";

/** One document being read: where it came from, and how the strings in it are completed. */
interface Source {
  readonly file: string;
  readonly lines: LineCounter;
  /** Throws an Error whose message is the reason. */
  readonly complete: (raw: string) => string;
}

/**
 * Parses YAML (and so JSON) into its top-level section. Nothing is turned into plain objects, so no key can pollute
 * one; aliases are refused, so nothing can grow beyond the size of the file.
 *
 * @throws AegisError config_invalid, `file:line:column: reason`
 */
export function parseConfigText(file: string, text: string, complete: (raw: string) => string): Section {
  const source: Source = { file, lines: new LineCounter(), complete };
  const options = { lineCounter: source.lines, prettyErrors: false, uniqueKeys: false, strict: true };
  const deep = tooDeepAt(text);
  if (deep !== null) throw new AegisError("config_invalid", `${file}:${deep}: it is nested too deeply`);
  const document = parseDocument(text, options);
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined)
    throw refusal(source, problem.pos[0], problem.message.replace(/; please use .*$/s, ""));
  const root: unknown = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) throw refusal(source, 0, "the file is empty");
  if (!isMap(root)) throw refusal(source, 0, "expected a mapping of settings at the top of the file");
  return new Section(source, root, "");
}

/**
 * The line on which brackets or `- - -` nest over 64 deep, or null. The parser recurses and backtracks: 500 KB of `[` cost it
 * 4 s and the stack. Brackets in texts count too, which no sensible file notices.
 */
function tooDeepAt(text: string): number | null {
  let depth = 0;
  let line = 1;
  for (const { 0: token } of text.matchAll(/[\n[\]{}]|(?:[-?:][ \t]+){64}/g)) {
    if (token === "\n") line++;
    else if (token === "]" || token === "}") depth = Math.max(0, depth - 1);
    else if (token.length > 1 || ++depth > 64) return line;
  }
  return null;
}

function refusal(source: Source, offset: number, message: string, hint?: string): AegisError {
  const { line, col } = source.lines.linePos(offset);
  const place = `${source.file}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
  return new AegisError("config_invalid", `${place}: ${message}`, hint === undefined ? {} : { hint });
}

interface Entry {
  readonly key: string;
  readonly keyAt: number;
  readonly value: Node | null;
}

/** A mapping of the file, read by the names that are known there. */
export class Section {
  private readonly entries = new Map<string, Entry>();

  constructor(
    private readonly source: Source,
    private readonly node: YAMLMap,
    /** Dotted, for errors: `servers.files`; empty at the top. */
    readonly path: string,
  ) {
    for (const { key, value } of node.items) {
      if (!isScalar(key))
        throw refusal(source, offsetOf(key) ?? offsetOf(node) ?? 0, "a key must be plain text");
      const name = typeof key.value === "string" ? key.value : (key.source ?? String(key.value));
      const keyAt = offsetOf(key) ?? 0;
      if (this.entries.has(name)) throw refusal(source, keyAt, `the key ${quoted(name)} is there twice`);
      this.entries.set(name, { key: name, keyAt, value: (value ?? null) as Node | null });
    }
  }

  names(): string[] {
    return [...this.entries.keys()];
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** Refuses every key that is not one of these. */
  only(known: readonly string[]): this {
    for (const { key, keyAt } of this.entries.values()) {
      if (known.includes(key)) continue;
      const where = this.path === "" ? "" : ` in ${this.path}`;
      const meant = nearest(key, known);
      const hint = meant === null ? `Known here: ${known.join(", ")}.` : `Did you mean ${meant}?`;
      throw refusal(this.source, keyAt, `unknown key ${quoted(key)}${where}`, hint);
    }
    return this;
  }

  /** At the value of `name`, at the key where it has none, at the section where the key is missing. */
  refuse(name: string | null, message: string, hint?: string): AegisError {
    const entry = name === null ? undefined : this.entries.get(name);
    const at = offsetOf(entry?.value) ?? entry?.keyAt ?? offsetOf(this.node) ?? 0;
    return refusal(this.source, at, message, hint);
  }

  /** At the key itself. */
  refuseKey(name: string, message: string, hint?: string): AegisError {
    return refusal(this.source, this.entries.get(name)?.keyAt ?? 0, message, hint);
  }

  /** Text, completed from the environment. Numbers and booleans count as they are written: `PORT: 08080`. */
  text(name: string): string | undefined {
    const entry = this.entries.get(name);
    return entry === undefined ? undefined : this.scalar(entry.value, this.name(name), entry.keyAt);
  }

  texts(name: string): string[] | undefined {
    const entry = this.entries.get(name);
    if (entry === undefined) return undefined;
    if (!isSeq(entry.value)) throw this.refuse(name, `${this.name(name)} must be a list of texts`);
    return entry.value.items.map((item, index) =>
      this.scalar(item as Node | null, `${this.name(name)}[${index}]`, offsetOf(entry.value) ?? entry.keyAt),
    );
  }

  section(name: string): Section | undefined {
    const entry = this.entries.get(name);
    if (entry === undefined) return undefined;
    if (!isMap(entry.value)) throw this.refuse(name, `${this.name(name)} must be a mapping`);
    return new Section(this.source, entry.value, this.name(name));
  }

  /** Milliseconds from `least` to `most`. */
  duration(name: string, least: number, most: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = parseDuration(text);
    if (value === null)
      throw this.refuse(name, `${this.name(name)} must be a duration such as ${durationExamples}`);
    if (value < least) throw this.refuse(name, `${this.name(name)} is too short`);
    if (value > most) throw this.refuse(name, `${this.name(name)} is too long`);
    return value;
  }

  integer(name: string, least: number, most: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw this.refuse(name, `${this.name(name)} must be a whole number from ${least} to ${most}`);
  }

  /** Bytes of `16MiB`, `64KiB` or `1048576`. */
  bytes(name: string, least: number, most: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const [, digits, unit] = /^(\d{1,12})(B|KiB|MiB)?$/.exec(text) ?? [];
    const value = Number(digits) * (unit === "MiB" ? 1_048_576 : unit === "KiB" ? 1024 : 1);
    if (value >= least && value <= most) return value;
    throw this.refuse(
      name,
      `${this.name(name)} must be a size from ${least} to ${most} bytes, such as 16MiB`,
    );
  }

  private name(name: string): string {
    return this.path === "" ? visible(name) : `${this.path}.${visible(name)}`;
  }

  private scalar(value: Node | null, name: string, fallback: number): string {
    const at = offsetOf(value) ?? fallback;
    if (isAlias(value))
      throw refusal(this.source, at, "anchors and aliases are not read here: write the value out");
    if (value === null || (isScalar(value) && value.value === null)) {
      throw refusal(this.source, at, `${name} has no value`);
    }
    if (!isScalar(value)) throw refusal(this.source, at, `${name} must be a text`);
    const raw = typeof value.value === "string" ? value.value : (value.source ?? String(value.value));
    try {
      return this.source.complete(raw);
    } catch (thrown) {
      throw refusal(this.source, at, `${name}: ${reasonOf(thrown)}`);
    }
  }
}

function offsetOf(node: unknown): number | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined;
}

function quoted(text: string): string {
  return `"${visible(text.length > 80 ? `${text.slice(0, 80)}…` : text)}"`;
}
