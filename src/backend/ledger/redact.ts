import { replaced, secretsIn } from "../../data/secret-forms.js";
import { visible } from "../../visible.js";
import { nameProblem } from "../names.js";

/** About how many characters the redacted form of a call's arguments takes, and so what it costs. */
const LIMIT = 4_096;
/** Strings longer than this are told by their length: nobody reads them in a ledger, and patterns stay cheap. */
const LONGEST = 512;
const DEEPEST = 32;
/** What is read, and kept, of a reason or a note. */
const READ = 4_096;
const REASON = 1_000;

const REDACTED = "[redacted]";

/** Parts of a key's name (lower case, without separators) that make its value a secret. */
const secretParts =
  /password|passwd|passphrase|secret|apikey|authorization|privatekey|accesskey|credential|cookie/;
const secretWords = new Set([
  "pwd",
  "pass",
  "auth",
  "pin",
  "otp",
  "cvv",
  "cvc",
  "ssn",
  "jwt",
  "sid",
  "sessionid",
]);

/**
 * Lone surrogates are not well-formed, and SQLite cuts a text at NUL. What some readers take for the end of a line, and
 * JSON does not escape, would make two records of one (threat L11).
 */
const unstorable = /[\0\ud800-\udfff\u0085\u2028\u2029]/gu;
const separators = /[\u0085\u2028\u2029]/g;

/** What is known of keys seen before: the same few on every call. */
const judged = new Map<string, "secret" | "token" | "plain">();
const remembered = 2_048;

/** Reasons come from policies: the same few sentences on every call. */
const reasons = new Map<string, string>();

/** A reason or a note for the ledger: well-formed, without secrets, and not longer than a paragraph. */
export function redactText(text: string): string {
  let clean = reasons.get(text);
  if (clean === undefined) {
    clean = cleanText(text);
    if (reasons.size >= remembered) reasons.clear();
    if (text.length <= LONGEST) reasons.set(text, clean);
  }
  return clean;
}

/** A foreign name for a record: as it is where it can be a name; made visible and short where it may be anything. */
export function recordName(name: string): string {
  return nameProblem(name) === null ? name : visible(redactText(name));
}

function cleanText(text: string): string {
  const read = text.length > READ ? text.slice(0, READ) : text;
  const clean = redactForms(read.replace(unstorable, "\ufffd"));
  return clean.length > REASON ? `${clean.slice(0, REASON)} [${text.length} characters]` : clean;
}

/**
 * The arguments of a call as JSON text for the ledger: secrets replaced, by the name of their key and by their form,
 * long strings told by their length, the rest up to about 4 KiB, and said how much was left out. Apart from listing the
 * keys of an object, what it costs is bounded by what it writes, not by what it is given.
 */
export function redactArguments(value: unknown): string {
  const writer = new Writer();
  writer.value(value, 0);
  return writer.text;
}

class Writer {
  text = "";

  value(value: unknown, depth: number): void {
    if (typeof value === "string") this.string(value);
    else if (value === null || typeof value !== "object") this.text += JSON.stringify(value) ?? "null";
    else if (depth >= DEEPEST) this.text += '"[nested deeper]"';
    else if (Array.isArray(value)) this.array(value, depth);
    else this.object(value as Record<string, unknown>, depth);
  }

  private array(items: readonly unknown[], depth: number): void {
    this.text += "[";
    for (let index = 0; index < items.length; index++) {
      if (index > 0) this.text += ",";
      if (this.text.length >= LIMIT) {
        this.text += `"[${items.length - index} more items]"`;
        break;
      }
      this.value(items[index], depth + 1);
    }
    this.text += "]";
  }

  private object(members: Record<string, unknown>, depth: number): void {
    this.text += "{";
    const keys = Object.keys(members);
    for (let index = 0; index < keys.length; index++) {
      if (index > 0) this.text += ",";
      if (this.text.length >= LIMIT) {
        this.text += `"[left out]":"[${keys.length - index} more members]"`;
        break;
      }
      const key = keys[index] ?? "";
      const value = members[key];
      this.string(key);
      this.text += ":";
      if (isSecret(key, value)) this.text += `"${REDACTED}"`;
      else this.value(value, depth + 1);
    }
    this.text += "}";
  }

  private string(value: string): void {
    // JSON.stringify writes lone surrogates as escapes: what comes out is well-formed.
    const json = value.length > LONGEST ? null : escapeSeparators(JSON.stringify(redactForms(value)));
    this.text +=
      json === null || this.text.length + json.length > LIMIT + LONGEST
        ? `"[string of ${value.length} characters]"`
        : json;
  }
}

/** JSON text without what some readers take for the end of a line; it says the same. */
export function escapeSeparators(json: string): string {
  return json.replace(
    separators,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function redactForms(text: string): string {
  const found = secretsIn(text);
  return found.length === 0 ? text : replaced(text, found, REDACTED);
}

function isSecret(key: string, value: unknown): boolean {
  let judgement = judged.get(key);
  if (judgement === undefined) {
    judgement = judge(key);
    if (judged.size >= remembered) judged.clear();
    if (key.length <= 64) judged.set(key, judgement);
  }
  if (judgement === "token") return typeof value !== "number" && typeof value !== "boolean";
  return judgement === "secret";
}

/** `token` is a secret unless it is a number: `max_tokens` is not one. */
function judge(key: string): "secret" | "token" | "plain" {
  const name = key
    .slice(0, LONGEST)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, "");
  if (secretParts.test(name) || secretWords.has(name)) return "secret";
  return name.includes("token") ? "token" : "plain";
}
