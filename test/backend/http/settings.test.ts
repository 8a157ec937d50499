import { describe, expect, it } from "vitest";
import { readSettings, type Settings } from "../../../src/backend/http/settings.js";
import { parseConfigText } from "../../../src/config-yaml.js";

const read = (text: string): Settings => readSettings(parseConfigText("config.yaml", text, (raw) => raw));

describe("AEGIS_HOME/config.yaml", () => {
  it("names origins, how an OIDC issuer is asked, and what is compatible", () => {
    const settings = read(`
origins: [https://board.example.com, "http://localhost:5173"]
oidc:
  issuer: https://login.example.com/realms/main
  audience: aegis
  roles_claim: realm_access.roles
  groups_claim: groups
  roles: { admins: admin, robots: agent }
compat: { reuse_approvals: true }
`);
    expect(settings).toEqual({
      origins: ["https://board.example.com", "http://localhost:5173"],
      oidc: {
        issuer: "https://login.example.com/realms/main",
        audience: ["aegis"],
        jwksUri: null,
        algorithms: ["RS256", "ES256", "EdDSA"],
        rolesClaim: "realm_access.roles",
        roles: new Map([
          ["admins", "admin"],
          ["robots", "agent"],
        ]),
        groupsClaim: "groups",
        nameClaim: "sub",
        agentClaim: "agent",
      },
      reuseApprovals: true,
    });
  });

  it("need say nothing of it", () => {
    expect(read("backend: http://localhost:8000\n")).toEqual({
      origins: [],
      oidc: null,
      reuseApprovals: false,
    });
  });

  const oidc = (over: Record<string, unknown>): string => {
    const good = { issuer: "https://i.example", audience: "a", roles: { x: "admin" } };
    return JSON.stringify({ oidc: { ...good, ...over } });
  };

  it.each([
    ["origins: ['*']\n", "config.yaml:1:10: origins lists origins"],
    ["origins: [https://a.example/path]\n", "origins lists origins"],
    ["origins: [https://A.example]\n", "origins lists origins"],
    ["origins: ['null']\n", "origins lists origins"],
    ["origins: https://a.example\n", "must be a list"],
    [oidc({ issuer: undefined }), "oidc.issuer is missing"],
    [oidc({ issuer: "http://login.example.com" }), "oidc.issuer must be an https:// URL"],
    [oidc({ issuer: "https://a:b@login.example.com" }), "must be an https:// URL without a password"],
    [oidc({ jwks_uri: "http://keys.example.com" }), "oidc.jwks_uri must be an https:// URL"],
    [oidc({ jwks_uri: "file:///etc/keys" }), "oidc.jwks_uri must be an https:// URL"],
    [oidc({ audience: undefined }), "oidc.audience must be a text"],
    [oidc({ audience: "" }), "oidc.audience must be a text"],
    [oidc({ roles: undefined }), "oidc.roles is missing"],
    [oidc({ roles: {} }), "oidc.roles is empty"],
    [oidc({ roles: { x: "root" } }), "a role is one of agent, approver, admin, auditor"],
    [oidc({ algorithms: ["HS256"] }), "algorithms that sign with a private key"],
    [oidc({ algorithms: ["none"] }), "algorithms that sign with a private key"],
    [oidc({ algorithms: [] }), "algorithms that sign with a private key"],
    [oidc({ secret: "s" }), 'unknown key "secret" in oidc'],
    ["compat: { reuse_approvals: maybe }\n", "must be true or false"],
    ["compat: { reuse: true }\n", 'unknown key "reuse" in compat'],
  ])("that says %s is refused", (text, reason) => {
    expect(() => read(text)).toThrow(reason);
  });

  it("may name an issuer on this machine without TLS", () => {
    expect(read(oidc({ issuer: "http://localhost:9000" })).oidc?.issuer).toBe("http://localhost:9000");
  });
});
