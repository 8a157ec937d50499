import type { Role } from "../../client/backend.js";
import type { Section } from "../../config-yaml.js";
import { isLoopback } from "../../listen.js";

/** How principals are proved by JWTs of an OpenID Connect issuer, beside tokens. */
export interface OidcSettings {
  /** As the `iss` of its tokens, character for character. */
  readonly issuer: string;
  /** The `aud` one of which a token must have. */
  readonly audience: readonly string[];
  /** Where its keys are; null asks `/.well-known/openid-configuration` of the issuer. */
  readonly jwksUri: string | null;
  readonly algorithms: readonly string[];
  /** A claim, or a path of them joined by dots: `realm_access.roles`. */
  readonly rolesClaim: string;
  /** Value of that claim → role. */
  readonly roles: ReadonlyMap<string, Role>;
  readonly groupsClaim: string | null;
  readonly nameClaim: string;
  /** The claim that names the agent, for role agent. */
  readonly agentClaim: string;
}

/** Signatures that only the issuer can make. HMAC is none: its key is the one that verifies (threat T3). */
export const signatureAlgorithms = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
] as const;

const defaultAlgorithms = ["RS256", "ES256", "EdDSA"];
const roleNames: readonly string[] = ["agent", "approver", "admin", "auditor"] satisfies Role[];

/** @throws AegisError config_invalid */
export function readOidc(section: Section): OidcSettings {
  section.only([
    "issuer",
    "audience",
    "jwks_uri",
    "algorithms",
    "roles_claim",
    "roles",
    "groups_claim",
    "name_claim",
    "agent_claim",
  ]);
  const issuer = readUrl(section, "issuer");
  if (issuer === null) throw section.refuse(null, "oidc.issuer is missing");
  const algorithms = section.texts("algorithms") ?? defaultAlgorithms;
  const unknown = algorithms.find((name) => !signatureAlgorithms.some((known) => known === name));
  if (unknown !== undefined || algorithms.length === 0) {
    const hint = `Choose from ${signatureAlgorithms.join(", ")}.`;
    throw section.refuse("algorithms", "oidc.algorithms lists algorithms that sign with a private key", hint);
  }
  return {
    issuer,
    audience: readAudience(section),
    jwksUri: readUrl(section, "jwks_uri"),
    algorithms,
    rolesClaim: section.text("roles_claim") ?? "roles",
    roles: readRoles(section),
    groupsClaim: section.text("groups_claim") ?? null,
    nameClaim: section.text("name_claim") ?? "sub",
    agentClaim: section.text("agent_claim") ?? "agent",
  };
}

/** Keys that somebody on the way could exchange prove nothing (threat T11). */
export function isSafe(address: string): boolean {
  const url = URL.canParse(address) ? new URL(address) : null;
  if (url === null || url.username !== "" || url.password !== "") return false;
  return url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url.hostname));
}

function readUrl(section: Section, name: string): string | null {
  const text = section.text(name);
  if (text === undefined) return null;
  if (isSafe(text)) return text;
  throw section.refuse(name, `oidc.${name} must be an https:// URL without a password`);
}

function readAudience(section: Section): readonly string[] {
  const problem = "oidc.audience must be a text: what the issuer calls this backend";
  const audience = section.text("audience");
  // Without one, a token that was made for any other service of the issuer would be good here (threat T4).
  if (audience === undefined || audience === "")
    throw section.refuse(audience === "" ? "audience" : null, problem);
  return [audience];
}

function readRoles(section: Section): ReadonlyMap<string, Role> {
  const named = section.section("roles");
  const hint = "Write, below roles:, a value of the claim and its role: aegis-admins: admin";
  if (named === undefined)
    throw section.refuse(null, "oidc.roles is missing: nobody would have a role", hint);
  const roles = new Map<string, Role>();
  for (const value of named.names()) {
    const role = named.text(value) ?? "";
    if (!roleNames.includes(role)) throw named.refuse(value, `a role is one of ${roleNames.join(", ")}`);
    roles.set(value, role as Role);
  }
  if (roles.size === 0) throw section.refuse("roles", "oidc.roles is empty: nobody would have a role", hint);
  return roles;
}
