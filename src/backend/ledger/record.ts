/**
 * `report` and `thought`: what an agent's own code says of itself (the SDK). `tool`: a tool's definition was seen,
 * changed or accepted. `grant`: calls were let through ahead of their coming, or that has ended. `export`: somebody took
 * records out. `checkpoint`: a signature over everything before it. `rotation`: the oldest records went into a segment
 * file.
 */
export const recordKinds = [
  "decision",
  "outcome",
  "approval",
  "kill",
  "revive",
  "policy",
  "token",
  "agent",
  "gateway",
  "server",
  "tool",
  "grant",
  "refused",
  "login_refused",
  "report",
  "thought",
  "export",
  "checkpoint",
  "rotation",
] as const;

export type RecordKind = (typeof recordKinds)[number];

/**
 * What a record says; the chain adds `id`, `at` and `prev`. A member that does not apply to the kind is left out. No
 * member is an object or an array: what a record says can be read without a parser of JSON (`body.ts`).
 */
export interface Entry {
  readonly kind: RecordKind;
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
  /** Id of a grant: of a decision, the one that let the call through. */
  readonly grant?: number;
  /** What rules for data found: `secrets in arguments: redacted`. */
  readonly findings?: string;
  /** What would have been decided if the rules in shadow counted, where that differs: `BLOCK file.yaml:3 block x__*`. */
  readonly shadow?: string;
  /** A decision about the answer to a call, not about the call. */
  readonly stage?: "result";
  /** Id of a token. */
  readonly token?: number;
  readonly digest?: string;
  /** SHA-256 of a tool's definition, hex. */
  readonly definition?: string;
  /** Redacted JSON text. */
  readonly arguments?: string;
  readonly outcome?: string;
  /** What a report says became of the call, or of an agent or a tool. */
  readonly status?: string;
  /** Milliseconds. */
  readonly duration?: number;
  readonly gateway?: string;
  /** Where a request came from. */
  readonly address?: string;
  /** A decision asked again: at the release of a hold, or after a lease. The call has an earlier one. */
  readonly release?: true;
  /** Of a checkpoint: how many records its signer lets pass before the next one. Of a rotation: what the last one said. */
  readonly every?: number;
  /** Of a rotation: the records that went, the hash of the last of them, and the file they are in. */
  readonly first_id?: number;
  readonly last_id?: number;
  readonly last_hash?: string;
  readonly segment?: string;
  /** SHA-256 of the file, hex. */
  readonly segment_hash?: string;
  /** Of a signed record: SHA-256 (hex) of the public key, and the signature (`signer.ts`). */
  readonly key_id?: string;
  readonly signature?: string;
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
  if (entry.address !== undefined) body += `"address":${quoted(entry.address)},`;
  if (entry.agent !== undefined) body += `"agent":${quoted(entry.agent)},`;
  if (entry.approval !== undefined) body += `"approval":${entry.approval},`;
  if (entry.arguments !== undefined) body += `"arguments":${JSON.stringify(entry.arguments)},`;
  body += `"at":"${at}",`;
  if (entry.call !== undefined) body += `"call":${JSON.stringify(entry.call)},`;
  if (entry.decision !== undefined) body += `"decision":${quoted(entry.decision)},`;
  if (entry.definition !== undefined) body += `"definition":${quoted(entry.definition)},`;
  if (entry.digest !== undefined) body += `"digest":"${entry.digest}",`;
  if (entry.duration !== undefined) body += `"duration":${JSON.stringify(entry.duration)},`;
  if (entry.every !== undefined) body += `"every":${entry.every},`;
  if (entry.findings !== undefined) body += `"findings":${quoted(entry.findings)},`;
  if (entry.first_id !== undefined) body += `"first_id":${entry.first_id},`;
  if (entry.gateway !== undefined) body += `"gateway":${quoted(entry.gateway)},`;
  if (entry.grant !== undefined) body += `"grant":${entry.grant},`;
  body += `"id":${id},`;
  if (entry.key_id !== undefined) body += `"key_id":"${entry.key_id}",`;
  body += `"kind":"${entry.kind}",`;
  if (entry.last_hash !== undefined) body += `"last_hash":"${entry.last_hash}",`;
  if (entry.last_id !== undefined) body += `"last_id":${entry.last_id},`;
  if (entry.outcome !== undefined) body += `"outcome":${quoted(entry.outcome)},`;
  body += `"prev":"${prev}"`;
  if (entry.principal !== undefined) body += `,"principal":${quoted(entry.principal)}`;
  if (entry.reason !== undefined) body += `,"reason":${quoted(entry.reason)}`;
  if (entry.release !== undefined) body += ',"release":true';
  if (entry.revision !== undefined) body += `,"revision":${quoted(entry.revision)}`;
  if (entry.rule !== undefined) body += `,"rule":${entry.rule === null ? "null" : quoted(entry.rule)}`;
  if (entry.segment !== undefined) body += `,"segment":${quoted(entry.segment)}`;
  if (entry.segment_hash !== undefined) body += `,"segment_hash":"${entry.segment_hash}"`;
  if (entry.server !== undefined) body += `,"server":${quoted(entry.server)}`;
  if (entry.shadow !== undefined) body += `,"shadow":${quoted(entry.shadow)}`;
  if (entry.signature !== undefined) body += `,"signature":"${entry.signature}"`;
  if (entry.stage !== undefined) body += `,"stage":"${entry.stage}"`;
  if (entry.status !== undefined) body += `,"status":${quoted(entry.status)}`;
  if (entry.token !== undefined) body += `,"token":${entry.token}`;
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

/** Behind the id of a call: the id under which its answer is decided. */
export const ofResult = ".result";

/** The key of the record that says how the call ended. */
export function outcomeKey(call: string): string {
  return ` ${call}`;
}
