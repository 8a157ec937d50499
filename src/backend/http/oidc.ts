import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type FetchImplementation,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from "jose";
import { z } from "zod";
import type { Principal, Role } from "../../client/backend.js";
import type { Logger } from "../../log.js";
import { nameProblem } from "../../names.js";
import { visible } from "../../visible.js";
import { IssuerReach } from "./issuer-reach.js";
import { isSafe, type OidcSettings } from "./oidc-settings.js";

/** Milliseconds the issuer may take for an answer, of which the first JWT waits for two. */
const deadline = 1_000;
/** Milliseconds after a fetch of the keys in which an unknown one brings about no other. */
const cooldown = 2_000;
/** Milliseconds after which keys are fetched again, and where they are is asked again. */
const keysAge = 600_000;
/** Seconds by which the issuer's clock may differ. */
const tolerance = 5;
/** From the strongest: somebody with several roles has the first. */
const personRoles = ["admin", "approver", "auditor"] as const satisfies Role[];

/** A JWT that proves nobody. The message is for its sender. */
export class RefusedJwt extends Error {
  constructor(
    message: string,
    /** Why nothing could be found out about it: the issuer does not answer. Not for its sender. */
    readonly fault: unknown = null,
  ) {
    super(message);
    this.name = "RefusedJwt";
  }
}

/** Three parts in base64url, of which the first is a JSON object. Tokens of our own have no dot. */
export function looksLikeJwt(token: string): boolean {
  return /^eyJ[\w-]*\.[\w-]*\.[\w-]*$/.test(token);
}

/**
 * Proves principals by the JWTs of one issuer. Issuer, audience and algorithms are pinned by the configuration, keys come
 * from the issuer alone: what a token says of its own keys (`jku`, `x5u`, `jwk`) is not looked at.
 */
export class Oidc {
  private keys: { readonly get: JWTVerifyGetKey; readonly until: number } | null = null;
  private finding: Promise<JWTVerifyGetKey> | null = null;

  private readonly reach: IssuerReach;

  constructor(
    private readonly settings: OidcSettings,
    log: Logger,
  ) {
    this.reach = new IssuerReach(log);
  }

  /** @throws RefusedJwt */
  async verify(jwt: string): Promise<Principal> {
    const { issuer, audience, algorithms } = this.settings;
    try {
      const { payload } = await jwtVerify(jwt, await this.findKeys(), {
        issuer,
        audience: [...audience],
        algorithms: [...algorithms],
        clockTolerance: tolerance,
        requiredClaims: ["exp"],
      });
      return this.principalOf(payload);
    } catch (thrown) {
      throw thrown instanceof RefusedJwt ? thrown : refusal(thrown);
    }
  }

  private async findKeys(): Promise<JWTVerifyGetKey> {
    if (this.keys !== null && performance.now() < this.keys.until) return this.keys.get;
    this.finding ??= this.discover().finally(() => {
      this.finding = null;
    });
    return this.finding;
  }

  private async discover(): Promise<JWTVerifyGetKey> {
    const { jwksUri, issuer } = this.settings;
    const url = new URL(jwksUri ?? (await this.reach.attempt(() => discoverKeys(issuer))));
    const get = createRemoteJWKSet(url, {
      [customFetch]: this.fetchKeys,
      timeoutDuration: deadline,
      cooldownDuration: cooldown,
      cacheMaxAge: keysAge,
    });
    this.keys = { get, until: performance.now() + keysAge };
    return get;
  }

  private readonly fetchKeys: FetchImplementation = (url, options) =>
    this.reach.attempt(async () => {
      const response = await fetch(url, options);
      if (response.status !== 200) throw new Error(`it answered ${response.status} at ${url}`);
      return Response.json(await response.json());
    });

  private principalOf(claims: JWTPayload): Principal {
    const { nameClaim, groupsClaim, agentClaim } = this.settings;
    const subject = claimOf(claims, nameClaim);
    if (typeof subject !== "string") throw new RefusedJwt(`it has no claim ${nameClaim}`);
    const name = `oidc:${subject}`;
    const problem = nameProblem(name);
    if (problem !== null) throw new RefusedJwt(`its claim ${nameClaim} ${problem}`);
    const role = this.roleOf(claims);
    const groups = groupsClaim === null ? [] : texts(claimOf(claims, groupsClaim));
    if (role !== "agent") return { name, role, agent: null, groups, token: null };
    // Without a bound it would speak for every agent there is.
    const agent = claimOf(claims, agentClaim);
    if (typeof agent !== "string" || nameProblem(agent) !== null)
      throw new RefusedJwt(`it has the role agent and no claim ${agentClaim} that names one`);
    return { name, role, agent, groups, token: null };
  }

  /** Never agent beside a person's role: whoever can run tools never decides (invariant 5). */
  private roleOf(claims: JWTPayload): Role {
    const { rolesClaim, roles } = this.settings;
    const held = new Set(texts(claimOf(claims, rolesClaim)).map((value) => roles.get(value)));
    for (const role of personRoles) if (held.has(role)) return role;
    if (held.has("agent")) return "agent";
    throw new RefusedJwt(`its claim ${rolesClaim} gives it no role here`);
  }
}

/** The claim of that name, else the one at the end of the path of names. */
function claimOf(claims: JWTPayload, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: unknown = claims;
  for (const part of name.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<string, unknown>)[part];
  }
  return value;
}

/** Of a list, or of one text; OAuth scopes stand in one, with spaces between them. */
function texts(value: unknown): string[] {
  if (typeof value === "string") return value.split(" ").filter((text) => text !== "");
  return Array.isArray(value) ? value.filter((text) => typeof text === "string") : [];
}

const discoveryDocument = z.object({ issuer: z.string(), jwks_uri: z.url() });

async function discoverKeys(issuer: string): Promise<string> {
  const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const response = await fetch(url, {
    signal: AbortSignal.timeout(deadline),
    redirect: "error",
    headers: { accept: "application/json" },
  });
  if (!response.ok) throw new Error(`it answered ${response.status} at ${url}`);
  const document = discoveryDocument.parse(await response.json());
  // OpenID Connect Discovery 1.0, 4.3: another issuer's document would bring another issuer's keys.
  if (document.issuer !== issuer) throw new Error(`its document is of the issuer ${document.issuer}`);
  if (!isSafe(document.jwks_uri)) throw new Error("its jwks_uri is neither https nor on this machine");
  return document.jwks_uri;
}

function refusal(thrown: unknown): RefusedJwt {
  if (thrown instanceof errors.JWTExpired) return new RefusedJwt("it has expired");
  if (thrown instanceof errors.JWTClaimValidationFailed) {
    const claim = visible(thrown.claim);
    return new RefusedJwt(
      thrown.reason === "missing" ? `it has no claim ${claim}` : `its claim ${claim} is not accepted`,
    );
  }
  if (thrown instanceof errors.JOSEAlgNotAllowed) return new RefusedJwt("its algorithm is not accepted");
  if (thrown instanceof errors.JWKSNoMatchingKey) return new RefusedJwt("its key is none of the issuer's");
  if (thrown instanceof errors.JWSSignatureVerificationFailed)
    return new RefusedJwt("its signature is not the issuer's");
  if (
    thrown instanceof errors.JWSInvalid ||
    thrown instanceof errors.JWTInvalid ||
    thrown instanceof errors.JOSENotSupported ||
    thrown instanceof errors.JWKSMultipleMatchingKeys
  )
    return new RefusedJwt("it is malformed, or of a form that is not supported");
  return new RefusedJwt("the keys of its issuer could not be fetched", thrown);
}
