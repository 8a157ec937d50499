import { reasonOf } from "../../errors.js";
import type { Logger } from "../../log.js";

/** Milliseconds after a failure in which the issuer is not asked again. */
const COOLDOWN = 2_000;

/**
 * What is asked of an OIDC issuer. While it is away, everybody with something that looks like a JWT could have it asked
 * again and again, and fill the log: it is asked once in a while, and told of once an outage.
 */
export class IssuerReach {
  private failed: { readonly fault: unknown; readonly until: number } | null = null;

  constructor(private readonly log: Logger) {}

  /** @throws what `asked` throws, or threw a moment ago */
  async attempt<T>(asked: () => Promise<T>): Promise<T> {
    if (this.failed !== null && performance.now() < this.failed.until) throw this.failed.fault;
    try {
      const answer = await asked();
      if (this.failed !== null) this.log.warn("the OIDC issuer answers again");
      this.failed = null;
      return answer;
    } catch (fault) {
      if (this.failed === null)
        this.log.error({ reason: reasonOf(fault) }, "the keys of the OIDC issuer could not be fetched");
      this.failed = { fault, until: performance.now() + COOLDOWN };
      throw fault;
    }
  }
}
