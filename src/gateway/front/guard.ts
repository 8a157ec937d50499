import type { IncomingMessage } from "node:http";

/**
 * Whether a request may be looked at at all: its `Host` must be the address we listen on, and its `Origin`, where a
 * browser sends one, a page of the same address. Otherwise any web page could talk to us by DNS rebinding
 * (2025-11-25, Streamable HTTP, "Security Warning"; CVE-2025-66414).
 *
 * @returns what is wrong, or null
 */
export function refusedOrigin(request: IncomingMessage, port: number): string | null {
  const { host, origin } = request.headers;
  if (host === undefined || !isOurs(host, port)) return "the Host header is not this gateway's address";
  if (origin === undefined) return null;
  const page = /^https?:\/\/([^/@\s]+)$/.exec(origin)?.[1];
  return page !== undefined && isOurs(page, port) ? null : "requests from this Origin are not accepted";
}

function isOurs(authority: string, port: number): boolean {
  const match = /^(127\.0\.0\.1|localhost|\[::1\])(?::(\d+))?$/.exec(authority);
  return match !== null && Number(match[2] ?? 80) === port;
}

/** Media type without parameters, in lower case; null where the header is missing or stands twice (threat P4). */
export function mediaType(request: IncomingMessage): string | null {
  const type = request.headers["content-type"];
  if (type === undefined || !once(request, "content-type")) return null;
  return type.split(";", 1)[0]?.trim().toLowerCase() ?? null;
}

function once(request: IncomingMessage, name: string): boolean {
  let count = 0;
  const { rawHeaders } = request;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i];
    if (header !== undefined && header.length === name.length && header.toLowerCase() === name) count++;
  }
  return count === 1;
}

/** The token of an `Authorization: Bearer` header, or null. */
export function bearer(request: IncomingMessage): string | null {
  const match = /^Bearer +([^\s]+)$/i.exec(request.headers.authorization ?? "");
  return match?.[1] ?? null;
}
