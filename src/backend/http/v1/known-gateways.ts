import type { Principal } from "../../../client/backend.js";
import { AegisError } from "../../../errors.js";
import type { Service } from "../../service.js";

/**
 * Milliseconds a sign of life is good for. With the longest lease it is less than the silence after which a gateway
 * counts as dead: a kill waits for every lease that was given.
 */
const GOOD = 1_500;
const remembered = 10_000;

/**
 * Gateways that are alive and belong to whoever asks. Every decision needs one: a lease in the hands of somebody whom
 * a kill does not know of would outlive the kill's acknowledgement (invariant 4).
 */
export class KnownGateways {
  private readonly seen = new Map<string, number>();

  constructor(private readonly service: Service) {}

  /** A sign of life: false where it is not known, or another's. */
  async beat(gateway: string, mark: number, by: Principal): Promise<boolean> {
    const at = performance.now();
    const known = await this.service.beat(gateway, mark, by);
    if (known) this.remember(gateway, by, at);
    else this.seen.delete(keyOf(gateway, by));
    return known;
  }

  /** It has been registered just now. */
  remember(gateway: string, by: Principal, at = performance.now()): void {
    if (this.seen.size >= remembered) this.seen.clear();
    this.seen.set(keyOf(gateway, by), at);
  }

  forget(gateway: string, by: Principal): void {
    this.seen.delete(keyOf(gateway, by));
  }

  /**
   * A question is a sign of life too. Of what the gateway has open nothing is known here, so that it is looked for from
   * the beginning of the ledger, should the gateway die before it says so itself.
   *
   * @throws AegisError `unknown_gateway`
   */
  async require(gateway: string, by: Principal): Promise<void> {
    const at = this.seen.get(keyOf(gateway, by));
    if (at !== undefined && performance.now() < at + GOOD) return;
    if (await this.beat(gateway, 0, by)) return;
    throw unknownGateway(gateway);
  }
}

/** Absent and foreign ones answer alike. */
export function unknownGateway(gateway: string): AegisError {
  return new AegisError("unknown_gateway", `No gateway "${gateway}" of yours is registered here.`, {
    hint: "POST /v1/gateways registers it.",
  });
}

function keyOf(gateway: string, { name, token }: Principal): string {
  return `${token ?? ""} ${name}\n${gateway}`;
}
