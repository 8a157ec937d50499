import { isIP } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";

/** By which names we may be spoken to, and by pages of which origins. */
export interface Hosts {
  /** Lower case, without port, IPv6 in brackets. */
  readonly names: ReadonlySet<string>;
  /** We listen on every address of the machine: any of them may be our name. */
  readonly everyAddress: boolean;
  /** The origin of `--public-url`, where a proxy in front of us speaks for us. */
  readonly publicOrigin: string | null;
  /** Pages elsewhere that may use the API: only they get CORS headers. */
  readonly origins: ReadonlySet<string>;
}

/** `host`: as it was asked to listen on. */
export function hostsOf(host: string, publicUrl: URL | null, origins: readonly string[]): Hosts {
  const everyAddress = host === "0.0.0.0" || host === "::" || host === "[::]";
  const own = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  const names = ["localhost", "127.0.0.1", "[::1]", ...(everyAddress ? [] : [own])];
  if (publicUrl !== null) names.push(publicUrl.hostname);
  return {
    names: new Set(names.map((name) => name.toLowerCase())),
    everyAddress,
    publicOrigin: publicUrl?.origin ?? null,
    origins: new Set(origins),
  };
}

/**
 * What is wrong with where a request says it goes to and comes from, or null. A page of another site reaches us by DNS
 * rebinding, which shows in `Host`, or by a plain cross-site request, which shows in `Origin` (threats T1, T9).
 */
export function foreign(request: FastifyRequest, hosts: Hosts): string | null {
  const host = only(request, "host");
  if (host === null || !isOurs(host, hosts)) return "the Host header is not a name of this server";
  if (request.headers.origin === undefined) return null;
  const origin = only(request, "origin");
  if (origin === null) return "the Origin header stands there twice";
  if (isOwnOrigin(origin, host, request, hosts)) return null;
  return hosts.origins.has(origin) ? null : "requests from this Origin are not accepted";
}

/**
 * What is wrong with where a form comes from, or null: only our own pages have forms for us. Every browser of today says
 * with a POST where it comes from.
 */
export function foreignForm(request: FastifyRequest, hosts: Hosts): string | null {
  const [host, origin] = [only(request, "host"), only(request, "origin")];
  if (host === null || origin === null || !isOwnOrigin(origin, host, request, hosts))
    return "the form does not come from a page of this server";
  const site = request.headers["sec-fetch-site"];
  return site === undefined || site === "same-origin" ? null : "the form comes from another site";
}

function isOwnOrigin(origin: string, host: string, { protocol }: FastifyRequest, hosts: Hosts): boolean {
  return origin === `${protocol}://${host.toLowerCase()}` || origin === hosts.publicOrigin;
}

function isOurs(authority: string, { names, everyAddress }: Hosts): boolean {
  const name = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/.exec(authority.toLowerCase())?.[1];
  if (name === undefined) return false;
  if (names.has(name)) return true;
  // Rebinding needs a name to bind anew: an address stays what it is.
  return everyAddress && isIP(name.replace(/^\[|\]$/g, "")) !== 0;
}

/** The header's value where it stands there once; Node shows the first of two and says nothing. */
export function only(request: FastifyRequest, name: string): string | null {
  const { rawHeaders } = request.raw;
  let found: string | null = null;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const header = rawHeaders[i];
    if (header === undefined || header.length !== name.length || header.toLowerCase() !== name) continue;
    if (found !== null) return null;
    found = rawHeaders[i + 1] ?? "";
  }
  return found;
}

/**
 * CORS, for a page whose origin is named in the configuration; it carries its token itself, never a cookie or the
 * browser's own Basic credentials.
 *
 * @returns true where the request was the browser's question and is answered
 */
export function answerCors(request: FastifyRequest, reply: FastifyReply, hosts: Hosts): boolean {
  const { origin } = request.headers;
  if (hosts.origins.size > 0) reply.header("vary", "Origin");
  if (origin === undefined || !hosts.origins.has(origin)) return false;
  reply.header("access-control-allow-origin", origin);
  reply.header("access-control-expose-headers", "retry-after, www-authenticate");
  if (request.method !== "OPTIONS" || request.headers["access-control-request-method"] === undefined)
    return false;
  reply
    .code(204)
    .header("access-control-allow-methods", "GET, POST, PUT")
    .header("access-control-allow-headers", "authorization, content-type, last-event-id")
    .header("access-control-max-age", "600")
    .send();
  return true;
}
