/** A URL that leads to a host which no name server knows: it is none that a list could name. */
export const unresolvable = Symbol("unresolvable");

/** Longest name of a host (RFC 1035), in characters. */
const longestHost = 253;

/** `http:`, at one place; a URL may begin with several, one in another: `view-source:http://…`. */
const scheme = /[\s\p{Cc}\p{Cf}]*([a-z][a-z0-9+.\-\t\n\r]*):/iuy;
/** Schemes whose host needs no `//` before it. */
const special = /^(?:https?|wss?|ftp|file)$/i;
const slashes = /[\t\n\r]*\/[\t\n\r]*\//y;
/** As many of them are read as URLs inside a URL: each may cost a look at all of the rest. */
const mostInner = 8;

/**
 * The host of one URL, as it is compared: lower case, without brackets and final dots, numbers as IPv4. Of a URL without
 * one (`jar:`, `view-source:`, `blob:`), that of the URL in it. Null where there is none.
 */
export function hostOfUrl(text: string): string | typeof unresolvable | null {
  const trimmed = trimAll(text);
  const host = hostOf(trimmed);
  if (host !== null) return host;
  scheme.lastIndex = 0;
  let tries = 0;
  for (let at = 0, found = scheme.exec(trimmed); found !== null; found = scheme.exec(trimmed)) {
    const after = scheme.lastIndex;
    slashes.lastIndex = after;
    if (at > 0 && (special.test((found[1] ?? "").replace(/[\t\n\r]/g, "")) || slashes.test(trimmed))) {
      if (++tries > mostInner) return unresolvable;
      const inner = trimmed.slice(at);
      const end = inner.indexOf("!/");
      const within = hostOf(trimAll(end === -1 ? inner : inner.slice(0, end)));
      if (within !== null) return within;
    }
    at = after;
    scheme.lastIndex = after;
  }
  return null;
}

function hostOf(text: string): string | typeof unresolvable | null {
  const url = parse(text);
  if (url === null || url.hostname === "") return null;
  // The host of a scheme that browsers do not know is kept as it is written: read it as theirs.
  const usual = parse(`https://${url.hostname}`);
  const host = plainHost(usual?.hostname ?? url.hostname);
  return host.length > longestHost ? unresolvable : host;
}

function parse(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

const invisible = /[\s\p{Cc}\p{Cf}]/u;

/** Without what some reader skips before and behind a URL: every kind of space, and what cannot be seen. */
export function trimAll(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && invisible.test(text[start] ?? "")) start++;
  while (end > start && invisible.test(text[end - 1] ?? "")) end--;
  return text.slice(start, end);
}

function plainHost(hostname: string): string {
  const host = hostname.toLowerCase().replace(/^\[(.*)\]$/, "$1");
  let end = host.length;
  while (host[end - 1] === ".") end--;
  return host.slice(0, end);
}

/** What the same host is called: an IPv6 address that stands for an IPv4 one (`::ffff:127.0.0.1`) is that too. */
export function hostNames(host: string): readonly string[] {
  const groups = groupsOf(host);
  if (groups === null || !startsWith(groups, [0, 0, 0, 0, 0, 0xffff])) return [host];
  return [host, ipv4(groups[6], groups[7])];
}

/**
 * The same, and the IPv4 address that packets to an IPv6 one may end at, through a translator or a tunnel: compatible
 * (`::127.0.0.1`), translated (RFC 2765), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056).
 */
export function reachableNames(host: string): readonly string[] {
  const groups = groupsOf(host);
  if (groups === null) return [host];
  const [first, second, third] = groups;
  if (first === 0x2002) return [host, ipv4(second, third)];
  const carries = carriers.some((prefix) => startsWith(groups, prefix));
  return carries ? [host, ipv4(groups[6], groups[7])] : [host];
}

const carriers = [
  [0, 0, 0, 0, 0, 0xffff],
  [0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0xffff, 0],
  [0x64, 0xff9b],
];

/** The eight numbers of an IPv6 address as URLs spell it, or null where it is none. */
function groupsOf(host: string): readonly number[] | null {
  if (!host.includes(":")) return null;
  const [before = "", after] = host.split("::");
  const read = (part: string) =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const [head, tail] = [read(before), read(after ?? "")];
  const missing = 8 - head.length - tail.length;
  return missing < 0 ? null : [...head, ...Array.from({ length: missing }, () => 0), ...tail];
}

function startsWith(groups: readonly number[], prefix: readonly number[]): boolean {
  return prefix.every((group, index) => groups[index] === group);
}

function ipv4(high = 0, low = 0): string {
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}

/** A pattern of hosts as URLs spell them, or null where it is none. */
export function hostPattern(written: string): string | null {
  const pattern = plainHost(written);
  if (pattern === "" || /[\s/\\@?#%]/.test(pattern)) return null;
  if (pattern.includes(":")) return /^[0-9a-f:.*]+$/.test(pattern) ? ipv6(pattern) : null;
  // Only what has no star is a name that can be spelled another way.
  const [, star = "", rest = pattern] = /^(\*\.)(.*)$/.exec(pattern) ?? [];
  if (rest.includes("*")) return pattern;
  const host = hostOfUrl(`https://${rest}`);
  return typeof host === "string" ? `${star}${host}` : null;
}

/** A port looks like the end of an address: only one star, behind the start of an address, is not a mistake. */
function ipv6(pattern: string): string | null {
  if (pattern.includes("*")) return /^[0-9a-f:]+:[0-9a-f]*\*$/.test(pattern) ? pattern : null;
  const host = hostOfUrl(`https://[${pattern}]`);
  return typeof host === "string" ? host : null;
}
