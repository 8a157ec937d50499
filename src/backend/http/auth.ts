import type { FastifyRequest } from "fastify";
import type { Principal } from "../../client/backend.js";
import { AegisError } from "../../errors.js";
import type { Logger } from "../../log.js";
import type { Service } from "../service.js";
import { carried } from "./credentials.js";
import { HttpError } from "./errors.js";
import { FailedLogins } from "./failed-logins.js";
import type { Metrics } from "./metrics.js";
import { looksLikeJwt, Oidc, RefusedJwt } from "./oidc.js";
import type { Caller } from "./permissions.js";
import type { Settings } from "./settings.js";

/** What a request proved itself with. */
export interface Credential {
  readonly principal: Principal;
  /** Asks again: whether it would still be let in. */
  readonly stands: () => Promise<boolean>;
  /** Of somebody who signed in on a page: what each of their forms carries. */
  readonly form?: string;
}

const challenge = { "www-authenticate": ['Bearer realm="aegis"', 'Basic realm="aegis", charset="UTF-8"'] };
const missing = "Send a token: Authorization: Bearer TOKEN, or Basic with the token as the password.";
const wrong = "The token is unknown, expired or revoked.";

/**
 * Who asks. A token is looked up by its SHA-256: what a comparison could betray by its time is a prefix of the hash of a
 * guess, from which nothing follows about the hash of a token, let alone its 256 random bits. A JWT is verified by a
 * signature. Nothing of a body is read before.
 */
export class Authentication {
  private readonly logins: FailedLogins;
  private readonly oidc: Oidc | null;

  constructor(
    private readonly service: Service,
    settings: Settings,
    private readonly metrics: Metrics,
    log: Logger,
  ) {
    this.logins = new FailedLogins((note) => service.note(note), log);
    this.oidc = settings.oidc === null ? null : new Oidc(settings.oidc, log);
  }

  /** @throws HttpError 401, 429; AegisError where the backend cannot say */
  async prove(request: FastifyRequest): Promise<Credential> {
    const sent = carried(request);
    // Not a failure: a browser asks without before it asks its user.
    if (sent.kind === "none") throw new HttpError(401, missing, challenge);
    if (sent.kind === "malformed") return this.fail(request, sent.reason, `Not accepted: ${sent.reason}.`);
    return this.proveToken(request, sent.token);
  }

  /** The same of a token that came in another way. */
  async proveToken(request: FastifyRequest, token: string): Promise<Credential> {
    try {
      const principal = await this.principalOf(token);
      if (principal === null)
        return await this.fail(request, "the token is unknown, expired or revoked", wrong);
      return { principal, stands: () => this.stands(token, principal) };
    } catch (thrown) {
      if (!(thrown instanceof RefusedJwt)) throw thrown;
      // Counted too where it is the issuer who does not answer: nobody knows whether it was a right one.
      return this.fail(request, thrown.message, `The JWT is not accepted: ${thrown.message}.`);
    }
  }

  /**
   * Whom a token of ours, or a JWT, stands for; null for nobody. Nothing is counted or recorded: it was shown to the
   * gateway that asks.
   *
   * @throws AegisError `backend_unavailable` where that cannot be found out
   */
  async identify(token: string): Promise<Principal | null> {
    try {
      return await this.principalOf(token);
    } catch (thrown) {
      if (!(thrown instanceof RefusedJwt)) throw thrown;
      if (thrown.fault === null) return null;
      throw new AegisError("backend_unavailable", `The JWT cannot be verified: ${thrown.message}.`, {
        cause: thrown.fault,
      });
    }
  }

  /** The principal is known, and its role is none of these. */
  refuseRole({ principal, method, routeOptions }: FastifyRequest, access: readonly Caller[]): never {
    const route = `${method} ${routeOptions.url ?? ""}`;
    this.logins.overstepped(principal, `${principal.name} asked for ${route}; its role is ${principal.role}`);
    const wanted = access.map((caller) =>
      caller === "gateway" ? "agent, with a token that names none" : caller,
    );
    throw new HttpError(403, `This takes the role ${wanted.join(" or ")}; the token's is ${principal.role}.`);
  }

  /** Somebody known wants to sign in on a page, where only who decides has something to do. */
  refuseSignIn(principal: Principal): never {
    this.logins.overstepped(
      principal,
      `${principal.name} wanted to sign in on a page; its role is ${principal.role}`,
    );
    throw new HttpError(
      403,
      `This token is of the role ${principal.role}, which decides nothing. Only approver and admin sign in here.`,
    );
  }

  /** The request goes to, or comes from, somewhere else. */
  refuseForeign(request: FastifyRequest, reason: string): never {
    this.logins.refused(request.ip, reason);
    throw new HttpError(403, `Forbidden: ${reason}.`);
  }

  private async principalOf(token: string): Promise<Principal | null> {
    if (this.oidc !== null && looksLikeJwt(token)) return this.oidc.verify(token);
    return this.service.authenticate(token);
  }

  private async stands(token: string, before: Principal): Promise<boolean> {
    try {
      const now = await this.principalOf(token);
      return now !== null && now.role === before.role && now.agent === before.agent;
    } catch (thrown) {
      if (thrown instanceof RefusedJwt) return thrown.fault !== null;
      throw thrown;
    }
  }

  private async fail(request: FastifyRequest, reason: string, detail: string): Promise<never> {
    this.metrics.failedLogin();
    const wait = await this.logins.count(request.ip);
    this.logins.refused(request.ip, reason);
    if (wait === null) throw new HttpError(401, detail, challenge);
    throw new HttpError(429, "Too many wrong credentials from this address; a right one is still let in.", {
      "retry-after": String(wait),
    });
  }
}
