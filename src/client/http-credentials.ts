import { hash } from "node:crypto";
import type { Principal } from "./backend.js";
import type { Api } from "./http-api.js";
import { authenticateAnswer, principalFromWire } from "./wire/principals.js";

/** Milliseconds a credential that was proved is taken as proved; a revocation is heard at once, an expiry is not. */
const PROVED = 500;
const PROVED_AT_MOST = 10_000;

/** The tokens that clients of the gateway present, which only the backend can judge. */
export class Credentials {
  private readonly proved = new Map<string, { readonly principal: Principal; readonly until: number }>();
  /** Counts revocations: an answer that was under way when one came is not kept. */
  private revocations = 0;

  constructor(private readonly api: Api) {}

  /** Null where the token is unknown, expired or revoked. @throws AegisError where the backend cannot be asked */
  async authenticate(token: string): Promise<Principal | null> {
    // No token of any backend: not worth a question.
    if (!/^[!-~]{1,8192}$/.test(token)) return null;
    const key = hash("sha256", token, "base64");
    const known = this.proved.get(key);
    if (known !== undefined && performance.now() < known.until) return known.principal;
    const { revocations } = this;
    const asked = performance.now();
    const answer = await this.api.post("/v1/authenticate", { token }, authenticateAnswer);
    this.proved.delete(key);
    if (answer.principal === null) return null;
    const principal = principalFromWire(answer.principal);
    if (this.proved.size >= PROVED_AT_MOST) this.proved.clear();
    if (revocations === this.revocations) this.proved.set(key, { principal, until: asked + PROVED });
    return principal;
  }

  /** Some token was revoked, or may have been. */
  forget(): void {
    this.revocations++;
    this.proved.clear();
  }
}
