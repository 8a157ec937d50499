/** What a record says; the chain adds `id`, `at` and `prev`. A member that does not apply to the kind is left out. */
export interface Entry {
  readonly kind:
    | "decision"
    | "outcome"
    | "approval"
    | "kill"
    | "revive"
    | "token"
    | "agent"
    | "gateway"
    | "server"
    | "refused"
    | "login_refused";
  readonly agent?: string;
  readonly principal?: string;
  readonly server?: string;
  readonly tool?: string;
  readonly action?: string;
  readonly call?: string;
  readonly decision?: string;
  readonly rule?: string | null;
  readonly reason?: string;
  readonly revision?: string;
  readonly approval?: number;
  readonly digest?: string;
  /** Redacted JSON text. */
  readonly arguments?: string;
  readonly outcome?: string;
  /** Milliseconds. */
  readonly duration?: number;
  readonly gateway?: string;
  /** A decision asked again: at the release of a hold, or after a lease. The call has an earlier one. */
  readonly release?: true;
}

/** Names and sentences as JSON: the same few on every call. Bounded. */
const quotations = new Map<string, string>();
const remembered = 4_096;
const longest = 512;

function quoted(text: string): string {
  let json = quotations.get(text);
  if (json === undefined) {
    json = JSON.stringify(text);
    if (quotations.size >= remembered) quotations.clear();
    if (text.length <= longest) quotations.set(text, json);
  }
  return json;
}

/**
 * The record as RFC 8785 canonical JSON. Written by hand in the order of the keys: a general canonicalizer costs five
 * times as much, on every call. Strings must be well-formed.
 *
 * @param at ISO 8601
 * @param prev hash of the record before; empty for the first
 */
export function recordBody(entry: Entry, id: number, at: string, prev: string): string {
  let body = "{";
  if (entry.action !== undefined) body += `"action":${quoted(entry.action)},`;
  if (entry.agent !== undefined) body += `"agent":${quoted(entry.agent)},`;
  if (entry.approval !== undefined) body += `"approval":${entry.approval},`;
  if (entry.arguments !== undefined) body += `"arguments":${JSON.stringify(entry.arguments)},`;
  body += `"at":"${at}",`;
  if (entry.call !== undefined) body += `"call":${JSON.stringify(entry.call)},`;
  if (entry.decision !== undefined) body += `"decision":${quoted(entry.decision)},`;
  if (entry.digest !== undefined) body += `"digest":"${entry.digest}",`;
  if (entry.duration !== undefined) body += `"duration":${JSON.stringify(entry.duration)},`;
  if (entry.gateway !== undefined) body += `"gateway":${quoted(entry.gateway)},`;
  body += `"id":${id},"kind":"${entry.kind}",`;
  if (entry.outcome !== undefined) body += `"outcome":"${entry.outcome}",`;
  body += `"prev":"${prev}"`;
  if (entry.principal !== undefined) body += `,"principal":${quoted(entry.principal)}`;
  if (entry.reason !== undefined) body += `,"reason":${quoted(entry.reason)}`;
  if (entry.release !== undefined) body += ',"release":true';
  if (entry.revision !== undefined) body += `,"revision":${quoted(entry.revision)}`;
  if (entry.rule !== undefined) body += `,"rule":${entry.rule === null ? "null" : quoted(entry.rule)}`;
  if (entry.server !== undefined) body += `,"server":${quoted(entry.server)}`;
  if (entry.tool !== undefined) body += `,"tool":${quoted(entry.tool)}`;
  return `${body}}`;
}

/**
 * The unique key of a record: a call is decided once and ends once, whoever says so how often. Names never begin with
 * white space, so that the keys of decisions and of outcomes are two sets; those of one gateway's decisions are a range.
 * Null for every other record.
 */
export function recordKey(entry: {
  readonly kind?: unknown;
  readonly release?: unknown;
  readonly call?: unknown;
}): string | null {
  if (typeof entry.call !== "string") return null;
  if (entry.kind === "outcome") return outcomeKey(entry.call);
  return entry.kind === "decision" && entry.release === undefined ? entry.call : null;
}

/** The key of the record that says how the call ended. */
export function outcomeKey(call: string): string {
  return ` ${call}`;
}
