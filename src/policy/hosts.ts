import { InexactNumber } from "./arguments.js";
import type { CompiledHost } from "./entries.js";
import { hostNames, hostOfUrl, reachableNames, trimAll, unresolvable } from "./host-names.js";
import type { PolicyDecision } from "./policy.js";

/** What one text of the arguments leads to; `host` null: it should be a URL and is none. */
interface Destination {
  readonly host: string | typeof unresolvable | null;
}

const urlName = /^(?:.*[_-])?(?:url|uri|href|link|endpoint|host|hostname|domain)s?$/i;
/** `baseUrl`, but not `ghost`. */
const urlSuffix = /[a-z0-9](?:Ur[li]|UR[LI]|Href|Link|Endpoint|Host|HostName|Hostname|Domain)s?$/;

/** A scheme at the start, where the URL standard finds one: it drops tabs and newlines. */
const absolute = /^[a-z][a-z0-9+.\-\t\n\r]*:/iu;

/**
 * Where the arguments may not lead: a host that is blocked; and where a list allows hosts for this action, one that is
 * not on it, or a member named like a URL that cannot be read as one. Null where nothing speaks against it.
 */
export function hostRefusal(hosts: readonly CompiledHost[], args: unknown): PolicyDecision | null {
  const blocked = hosts.filter(({ host }) => host.list === "block");
  const allowed = hosts.filter(({ host }) => host.list === "allow");
  const found = destinations(args);
  for (const { host } of found) {
    const [any] = blocked;
    if (host === unresolvable && any !== undefined) {
      const reason = `Blocked: the arguments hold a URL whose host no list can name, and hosts are blocked (${any.label}).`;
      return { decision: "BLOCK", rule: any.label, reason };
    }
    const names = typeof host === "string" ? reachableNames(host) : [];
    const rule = blocked.find(({ matchesHost }) => names.some(matchesHost));
    if (rule !== undefined) {
      const reason = `Blocked: the arguments lead to a host that the rule ${rule.label} blocks.`;
      return { decision: "BLOCK", rule: rule.label, reason: rule.host.reason ?? reason };
    }
  }
  const [first] = allowed;
  if (first === undefined) return null;
  const reason = first.host.reason;
  for (const { host } of found) {
    if (typeof host !== "string") {
      const unread = "Blocked: a member of the arguments that names a URL or a host cannot be read as one.";
      return { decision: "BLOCK", rule: first.label, reason: reason ?? unread };
    }
    // Not by what it may only lead to: what a list allows is the host itself.
    const names = hostNames(host);
    if (!allowed.some(({ matchesHost }) => names.some(matchesHost))) {
      const foreign = `Blocked: the arguments lead to a host that no list allows (${first.label}).`;
      return { decision: "BLOCK", rule: first.label, reason: reason ?? foreign };
    }
  }
  return null;
}

/** Every text that is a URL, anywhere in the arguments; and whatever a member named like one holds. */
export function destinations(args: unknown): readonly Destination[] {
  const found: Destination[] = [];
  const visit = (value: unknown, named: boolean): void => {
    if (typeof value === "string") collect(value, named, found);
    // 2130706433 is 127.0.0.1.
    else if (typeof value === "number" && named) collect(String(value), true, found);
    else if (value instanceof InexactNumber) {
      if (!named) return;
      // Which host its reader makes of it is not known: not one that is allowed, and not one that is blocked.
      found.push({ host: null });
      collect(String(Number(value.text)), true, found);
    } else if (Array.isArray(value)) for (const item of value) visit(item, named);
    else if (typeof value === "object" && value !== null) {
      for (const [name, member] of Object.entries(value)) {
        collect(name, false, found);
        visit(member, urlName.test(name) || urlSuffix.test(name));
      }
    }
  };
  visit(args, false);
  return found;
}

function collect(text: string, named: boolean, found: Destination[]): void {
  // What stands before and behind it is skipped by one reader or another.
  const url = trimAll(text);
  const host = absolute.test(url) ? hostOfUrl(url) : null;
  if (host !== null) found.push({ host });
  else if (named) found.push({ host: hostOfUrl(`https://${url}`) });
}
