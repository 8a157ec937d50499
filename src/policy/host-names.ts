/** The host of one URL, as it is compared: lower case, without brackets and final dots, numbers as IPv4. */
export function hostOfUrl(text: string): string | null {
  const url = parse(text);
  if (url === null || url.hostname === "") return null;
  // The host of a scheme that browsers do not know is kept as it is written: read it as theirs.
  const usual = parse(`https://${url.hostname}`);
  return plainHost(usual?.hostname ?? url.hostname);
}

function parse(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

function plainHost(hostname: string): string {
  return hostname
    .toLowerCase()
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.+$/, "");
}

/** What else the same host is called: an IPv4 address inside IPv6. */
export function hostNames(host: string): readonly string[] {
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(host) ?? [];
  if (high === undefined || low === undefined) return [host];
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [host, [a >> 8, a & 255, b >> 8, b & 255].join(".")];
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
  return host === null ? null : `${star}${host}`;
}

/** A port looks like the end of an address: only one star, behind the start of an address, is not a mistake. */
function ipv6(pattern: string): string | null {
  if (pattern.includes("*")) return /^[0-9a-f:]+:[0-9a-f]*\*$/.test(pattern) ? pattern : null;
  return hostOfUrl(`https://[${pattern}]`);
}
