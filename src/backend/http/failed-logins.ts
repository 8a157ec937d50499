import { isIPv6 } from "node:net";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Note, Principal } from "../../client/backend.js";
import { reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";

/** Seconds over which is counted. */
const window = 60;
/** Wrong credentials of one address in a window that are answered as such. */
const failures = 20;
/** Records of refusals in a window: of one address or principal, and of all together. */
const recordsOfOne = 10;
const recordsOfAll = 200;

/**
 * What was refused at the door. Only failures count, and a valid credential passes whatever its address did: locking an
 * address out would lock out everybody behind one proxy, and nobody guesses 256 bits. The limit bounds what a flood
 * costs, in answers and in records (threats T17, R10).
 */
export class FailedLogins {
  private readonly attempts = new RateLimiterMemory({ points: failures, duration: window });
  private readonly ofOne = new RateLimiterMemory({ points: recordsOfOne, duration: window });
  private readonly ofAll = new RateLimiterMemory({ points: recordsOfAll, duration: window });

  constructor(
    private readonly write: (note: Note) => Promise<void>,
    private readonly log: Logger,
  ) {}

  /**
   * A credential of this address was wrong.
   *
   * @returns seconds after which it may try again, or null where it may at once
   */
  async count(address: string): Promise<number | null> {
    const spent = await take(this.attempts, network(address));
    return spent === null ? null : Math.max(1, Math.ceil(spent.msBeforeNext / 1000));
  }

  /** Somebody unknown was refused. */
  refused(address: string, reason: string): void {
    this.record(network(address), { kind: "login_refused", reason: `${reason} (from ${address})` });
  }

  /** Somebody known asked for what its role may not do: an agent that tries to approve shows here. */
  overstepped(principal: Principal, reason: string): void {
    this.record(`principal ${principal.name}`, {
      kind: "refused",
      principal: principal.name,
      ...(principal.agent === null ? {} : { agent: principal.agent }),
      reason,
    });
  }

  private record(key: string, note: Note): void {
    this.recordWithin(key, note).catch((thrown: unknown) => {
      // Whoever was refused stays refused; that it is not in the ledger is told to the operator.
      this.log.error({ reason: reasonOf(thrown), note }, "a refusal could not be recorded");
    });
  }

  private async recordWithin(key: string, note: Note): Promise<void> {
    const spent = (await take(this.ofOne, key)) ?? (await take(this.ofAll, ""));
    if (spent === null) await this.write(note);
    // Of the first one only: a flood would fill the log in place of the ledger.
    else if (spent.isFirst)
      this.log.warn({ note }, "refused, and not recorded, like all that follow: too many in a minute");
  }
}

interface Spent {
  readonly msBeforeNext: number;
  /** Nobody found it spent before, in this window. */
  readonly isFirst: boolean;
}

/** Null where there was a point left. */
async function take(limiter: RateLimiterMemory, key: string): Promise<Spent | null> {
  try {
    await limiter.consume(key);
    return null;
  } catch (thrown) {
    if (thrown instanceof RateLimiterRes) {
      const { msBeforeNext, consumedPoints } = thrown;
      return { msBeforeNext, isFirst: consumedPoints === limiter.points + 1 };
    }
    throw thrown;
  }
}

/** Whoever has one IPv6 address has the 2^64 beside it: what is counted is their network. */
export function network(address: string): string {
  if (!isIPv6(address) || address.startsWith("::")) return address;
  const [front = "", back] = address.split("::");
  const groups = front.split(":");
  const behind = back === undefined || back === "" ? 0 : back.split(":").length;
  const zeros = back === undefined ? 0 : 8 - groups.length - behind;
  return [...groups, ...Array.from({ length: zeros }, () => "0")].slice(0, 4).join(":");
}
