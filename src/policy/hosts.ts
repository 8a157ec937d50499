import type { CompiledHost } from "./entries.js";
import { hostNames, hostOfUrl } from "./host-names.js";
import type { PolicyDecision } from "./policy.js";

/** What one text of the arguments leads to; `host` null: it should be a URL and is none. */
interface Destination {
  readonly host: string | null;
}

const urlName = /^(?:.*[_-])?(?:url|uri|href|link|endpoint|host|hostname|domain)s?$/i;
/** `baseUrl`, but not `ghost`. */
const urlSuffix = /[a-z0-9](?:Ur[li]|UR[LI]|Href|Link|Endpoint|Host|HostName|Hostname|Domain)s?$/;

/** A scheme at the start, where the URL standard finds one: it skips spaces and controls, and drops tabs and newlines. */
const absolute = /^[\p{Cc} ]*[a-z][a-z0-9+.\-\t\n\r]*:/iu;

/**
 * Where the arguments may not lead: a host that is blocked; and where a list allows hosts for this action, one that is
 * not on it, or a member named like a URL that cannot be read as one. Null where nothing speaks against it.
 */
export function hostRefusal(hosts: readonly CompiledHost[], args: unknown): PolicyDecision | null {
  const blocked = hosts.filter(({ host }) => host.list === "block");
  const allowed = hosts.filter(({ host }) => host.list === "allow");
  const found = destinations(args);
  for (const { host } of found) {
    const rule = host === null ? undefined : blocked.find((one) => reaches(one, host));
    if (rule !== undefined) {
      const reason = `Blocked: the arguments lead to a host that the rule ${rule.label} blocks.`;
      return { decision: "BLOCK", rule: rule.label, reason: rule.host.reason ?? reason };
    }
  }
  const [first] = allowed;
  if (first === undefined) return null;
  const reason = first.host.reason;
  for (const { host } of found) {
    if (host === null) {
      const unread = "Blocked: a member of the arguments that names a URL or a host cannot be read as one.";
      return { decision: "BLOCK", rule: first.label, reason: reason ?? unread };
    }
    if (!allowed.some((one) => reaches(one, host))) {
      const foreign = `Blocked: the arguments lead to a host that no list allows (${first.label}).`;
      return { decision: "BLOCK", rule: first.label, reason: reason ?? foreign };
    }
  }
  return null;
}

function reaches({ matchesHost }: CompiledHost, host: string): boolean {
  return hostNames(host).some(matchesHost);
}

/** Every text that is a URL, anywhere in the arguments; and whatever a member named like one holds. */
export function destinations(args: unknown): readonly Destination[] {
  const found: Destination[] = [];
  const visit = (value: unknown, named: boolean): void => {
    if (typeof value === "string") collect(value, named, found);
    // 2130706433 is 127.0.0.1.
    else if (typeof value === "number" && named) collect(String(value), true, found);
    else if (Array.isArray(value)) for (const item of value) visit(item, named);
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
  const host = absolute.test(text) ? hostOfUrl(text) : null;
  if (host !== null) found.push({ host });
  else if (named) found.push({ host: hostOfUrl(`https://${text.trim()}`) });
}
