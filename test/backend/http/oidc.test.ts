import { exportSPKI, importJWK, SignJWT } from "jose";
import pino from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { OidcSettings } from "../../../src/backend/http/oidc-settings.js";
import { routes } from "../../../src/backend/http/routes.js";
import { type Answer, startServer, stubs, type TestServer } from "../../fixtures/backend/http.js";
import { Issuer } from "../../fixtures/backend/issuer.js";
import { waitFor } from "../../fixtures/backend/store.js";

const settings = (issuer: string): OidcSettings => ({
  issuer,
  audience: ["aegis"],
  jwksUri: null,
  algorithms: ["RS256", "ES256", "EdDSA"],
  rolesClaim: "roles",
  roles: new Map([
    ["aegis-admins", "admin"],
    ["aegis-approvers", "approver"],
    ["aegis-auditors", "auditor"],
    ["aegis-agents", "agent"],
  ]),
  groupsClaim: "groups",
  nameClaim: "sub",
  agentClaim: "agent",
});

let issuer: Issuer;
let stranger: Issuer;
let server: TestServer;

const start = (over: Partial<OidcSettings> = {}): Promise<TestServer> =>
  startServer({
    routes: { v1: stubs("v1", (app) => void app.get("/v1/whoami", async ({ principal }) => principal)) },
    settings: { oidc: { ...settings(issuer.url), ...over } },
  });

beforeAll(async () => {
  issuer = await Issuer.started(["RS256", "RS384", "ES256", "EdDSA"]);
  stranger = await Issuer.started();
  server = await start();
});
afterAll(async () => {
  await server.close();
  await issuer.stop();
  await stranger.stop();
});

const whoami = (token: string, at = server): Promise<Answer> => at.ask("/v1/whoami", { token });
const now = (): number => Math.floor(Date.now() / 1000);
const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

describe("a JWT of the issuer", () => {
  it.each(["RS256", "ES256", "EdDSA"])("proves its principal, signed with %s", async (kid) => {
    const { status, json } = await whoami(await issuer.sign({ groups: ["platform"] }, { kid }));
    expect([status, json]).toEqual([
      200,
      { name: "oidc:ada", role: "admin", agent: null, groups: ["platform"], token: null },
    ]);
  });

  it("works as a Basic password, and beside tokens of our own", async () => {
    const jwt = await issuer.sign();
    const authorization = `Basic ${Buffer.from(`ada:${jwt}`).toString("base64")}`;
    expect(await server.ask("/v1/whoami", { headers: { authorization } })).toMatchObject({
      json: { name: "oidc:ada" },
    });
    expect(await whoami("auditor")).toMatchObject({ json: { name: "auditor" } });
  });

  it("asks the issuer for its keys once, not for every request", async () => {
    const before = issuer.asked.length;
    for (let n = 0; n < 10; n++) expect((await whoami(await issuer.sign())).status).toBe(200);
    expect(issuer.asked.length).toBe(before);
  });
});

describe("its role", () => {
  it.each([
    [["aegis-auditors", "aegis-admins", "aegis-approvers"], "admin"],
    [["aegis-auditors", "aegis-approvers"], "approver"],
    [["aegis-auditors", "unknown"], "auditor"],
    ["aegis-approvers", "approver"],
    ["openid aegis-auditors", "auditor"],
    [["aegis-agents", "aegis-auditors"], "auditor"],
  ])("of %j is %s", async (roles, role) => {
    expect(await whoami(await issuer.sign({ roles, agent: "claude-desktop" }))).toMatchObject({
      status: 200,
      json: { role, agent: null },
    });
  });

  it("is agent where the agent is named, and speaks for that one only", async () => {
    const roles = ["aegis-agents"];
    expect(await whoami(await issuer.sign({ roles, agent: "claude-desktop" }))).toMatchObject({
      json: { role: "agent", agent: "claude-desktop", name: "oidc:ada" },
    });
    for (const agent of [undefined, "", 7, ["a"], "a\u0000b", null]) {
      expect((await whoami(await issuer.sign({ roles, agent }))).status).toBe(401);
    }
  });

  it.each([[[]], [undefined], [["nobody"]], [{ admin: true }], ["__proto__"], [[["aegis-admins"]]], [null]])(
    "is none for the claim %j: refused",
    async (roles) => {
      const { status, json } = await whoami(await issuer.sign({ roles }));
      expect([status, json.detail]).toEqual([401, expect.stringContaining("gives it no role")]);
    },
  );

  it("opens what the table gives it, and nothing else", async () => {
    const auditor = await issuer.sign({ roles: ["aegis-auditors"] });
    expect((await server.ask("/metrics", { token: auditor })).status).toBe(200);
    expect((await server.ask("/v1/kill", { method: "POST", token: auditor })).status).toBe(403);
  });

  it("can stand further in, as Keycloak has it, and the name in another claim", async () => {
    const other = await start({ rolesClaim: "realm_access.roles", nameClaim: "email" });
    try {
      const jwt = await issuer.sign({
        realm_access: { roles: ["aegis-approvers"] },
        email: "ada@example.com",
      });
      expect(await whoami(jwt, other)).toMatchObject({
        json: { role: "approver", name: "oidc:ada@example.com" },
      });
      expect((await whoami(await issuer.sign(), other)).status).toBe(401);
    } finally {
      await other.close();
    }
  });
});

describe("a JWT is refused", () => {
  // Of its own for each: failures of one address are counted.
  let at: TestServer;
  beforeEach(async () => {
    at = await start();
  });
  afterEach(() => at.close());

  const forged = async (header: object, claims = issuer.claims()): Promise<string> => {
    const key = await importJWK(issuer.publicKey("RS256"), "RS256", { extractable: true });
    // The public key as an HMAC secret: what a verifier that trusts the header would check it with.
    const secret = new TextEncoder().encode(await exportSPKI(key as never));
    return new SignJWT(claims).setProtectedHeader({ alg: "HS256", ...header }).sign(secret);
  };
  const bySomebodyElse = async (header: object): Promise<string> => {
    const { iss } = issuer.claims();
    return stranger.sign({ iss }, { header: { kid: "RS256", ...header } });
  };

  it.each<[string, () => Promise<string> | string, RegExp]>([
    [
      "without a signature",
      () => `${part({ alg: "none" })}.${part(issuer.claims())}.`,
      /not accepted|malformed/,
    ],
    [
      "with the algorithm None",
      () => `${part({ alg: "None" })}.${part(issuer.claims())}.AA`,
      /algorithm|malformed/,
    ],
    ["signed with the public key as a secret", () => forged({ kid: "RS256" }), /algorithm/],
    ["signed with an algorithm that is not listed", () => issuer.sign({}, { kid: "RS384" }), /algorithm/],
    ["of another audience", () => issuer.sign({ aud: "other" }), /aud/],
    ["of no audience", () => issuer.sign({ aud: undefined }), /aud/],
    ["of another issuer", () => issuer.sign({ iss: "https://evil.example" }), /iss/],
    ["of the issuer with a slash more", () => issuer.sign({ iss: `${issuer.url}/` }), /iss/],
    ["that has expired", () => issuer.sign({ exp: now() - 10 }), /expired/],
    ["without an expiry", () => issuer.sign({ exp: undefined }), /exp/],
    ["with an expiry that is no number", () => issuer.sign({ exp: "never" }), /exp|malformed/],
    ["that is not valid yet", () => issuer.sign({ nbf: now() + 60 }), /nbf/],
    ["without a subject", () => issuer.sign({ sub: undefined }), /sub/],
    ["with a subject nobody can read", () => issuer.sign({ sub: "ada\u200badmin" }), /sub/],
    ["signed by somebody else under a kid of the issuer", () => bySomebodyElse({}), /signature/],
    ["with a kid that is a path", () => bySomebodyElse({ kid: "../../../dev/null" }), /key/],
    ["with a jku of the attacker", () => bySomebodyElse({ kid: "x", jku: `${stranger.url}/keys` }), /key/],
    ["with an x5u of the attacker", () => bySomebodyElse({ kid: "x", x5u: `${stranger.url}/keys` }), /key/],
    ["with its key in the header", () => bySomebodyElse({ jwk: stranger.publicKey("RS256") }), /signature/],
    [
      "with a critical extension nobody knows",
      () => `${part({ alg: "RS256", kid: "RS256", crit: ["x"], x: 1 })}.${part(issuer.claims())}.AAAA`,
      /not supported/,
    ],
    [
      "changed after it was signed",
      async () => {
        const [head, , signature] = (await issuer.sign({ roles: ["aegis-auditors"] })).split(".");
        return `${head}.${part(issuer.claims())}.${signature}`;
      },
      /signature/,
    ],
  ])("%s", async (_what, made, reason) => {
    const fetched = stranger.asked.length;
    const jwt = await made();
    const { status, json } = await whoami(jwt, at);
    expect([status, json.detail]).toEqual([401, expect.stringMatching(reason)]);
    expect(stranger.asked.length).toBe(fetched);
    expect((await whoami(await issuer.sign(), at)).status).toBe(200);
  });

  it("where the discovery document is another issuer's", async () => {
    issuer.pretends = "https://evil.example";
    const { status } = await whoami(await issuer.sign(), at);
    issuer.pretends = null;
    expect(status).toBe(401);
    const jwt = await issuer.sign();
    await waitFor(async () => (await whoami(jwt, at)).status === 200, "the issuer", 5_000);
  });
});

describe("a client of a gateway that is an agent of the issuer", () => {
  it("is told to the gateway that was shown its JWT", async () => {
    const own = await Issuer.started(["RS256"]);
    const at = await startServer({ routes, settings: { oidc: settings(own.url) } });
    const tell = (token: string, as = "gateway"): Promise<Answer> =>
      at.ask("/v1/authenticate", { method: "POST", token: as, body: { token } });
    try {
      const claims = { roles: ["aegis-agents"], agent: "claude-desktop" };
      const { status, json } = await tell(await own.sign(claims));
      expect([status, json.principal]).toEqual([
        200,
        {
          name: "oidc:ada",
          role: "agent",
          agent: "claude-desktop",
          groups: [],
          token: null,
          trust_declared: false,
        },
      ]);
      expect((await tell(at.tokens.agent)).json.principal).toMatchObject({ name: "agent" });
      for (const jwt of [await own.sign({ ...claims, exp: now() - 10 }), await stranger.sign(claims)])
        expect((await tell(jwt)).json).toEqual({ principal: null });
      expect((await tell(await own.sign(claims), "agent")).status).toBe(403);
    } finally {
      await at.close();
      await own.stop();
    }
  });

  it("is nobody that is known while the issuer is away, and is known again when it is back", async () => {
    const own = await Issuer.started(["RS256"]);
    const at = await startServer({ routes, settings: { oidc: settings(own.url) } });
    const body = { token: await own.sign({ roles: ["aegis-agents"], agent: "claude-desktop" }) };
    const tell = (): Promise<Answer> =>
      at.ask("/v1/authenticate", { method: "POST", token: "gateway", body });
    try {
      own.fails = true;
      expect(await tell()).toMatchObject({ status: 503, json: { code: "backend_unavailable" } });
      own.fails = false;
      await waitFor(async () => (await tell()).json.principal?.name === "oidc:ada", "the issuer", 5_000);
    } finally {
      await at.close();
      await own.stop();
    }
  });
});

describe("keys", () => {
  it("that are new are fetched, and those that are gone prove nothing any more", async () => {
    const own = await Issuer.started(["RS256"]);
    const at = await startServer({
      routes: { v1: stubs("v1") },
      settings: { oidc: settings(own.url) },
    });
    try {
      const old = await own.sign();
      expect((await whoami(old, at)).status).toBe(200);
      await own.addKey("RS256", "next");
      own.removeKey("RS256");
      const fresh = await own.sign({}, { kid: "next" });
      await waitFor(async () => (await whoami(fresh, at)).status === 200, "the new key");
      await waitFor(async () => (await whoami(old, at)).status !== 200, "the end of the old one");
    } finally {
      await at.close();
      await own.stop();
    }
  });

  it.each<[string, (own: Issuer) => Promise<void> | void, (own: Issuer) => Promise<void> | void]>([
    ["is gone", (own) => own.stop(), (own) => own.start()],
    ["hangs", (own) => own.hang("/"), (own) => own.hang(null)],
    ["hangs when it is asked for its keys", (own) => own.hang("/keys"), (own) => own.hang(null)],
  ])(
    "let nobody in while their issuer %s, with a reason, and do again when it is back",
    async (_how, fail, mend) => {
      const own = await Issuer.started(["RS256"]);
      const at = await startServer({ routes: { v1: stubs("v1") }, settings: { oidc: settings(own.url) } });
      try {
        const jwt = await own.sign();
        await fail(own);
        const asked = performance.now();
        const { status, json } = await whoami(jwt, at);
        expect([status, json.detail]).toEqual([401, expect.stringContaining("could not be fetched")]);
        expect(performance.now() - asked).toBeLessThan(3_000);
        // Its own tokens need no issuer.
        expect((await whoami("admin", at)).status).toBe(200);
        await mend(own);
        await waitFor(async () => (await whoami(jwt, at)).status === 200, "the issuer", 5_000);
      } finally {
        await at.close();
        await own.stop();
      }
    },
  );

  it("are asked for once in a while where the issuer is gone, and whoever tries is counted", async () => {
    const own = await Issuer.started(["RS256"]);
    const lines: string[] = [];
    const log = pino({ level: "warn" }, { write: (line) => void lines.push(line) });
    const at = await startServer({ routes: { v1: stubs("v1") }, settings: { oidc: settings(own.url) }, log });
    try {
      const jwt = await own.sign();
      own.fails = true;
      const statuses: number[] = [];
      for (let n = 0; n < 60; n++) statuses.push((await whoami(`${jwt}${n}`, at)).status);
      expect([statuses.slice(0, 20), statuses.slice(20)].map((some) => [...new Set(some)])).toEqual([
        [401],
        [429],
      ]);
      expect(own.asked).toEqual(["/.well-known/openid-configuration"]);
      // The outage, and that not every attempt is recorded.
      expect(lines).toEqual([
        expect.stringContaining('"msg":"the keys of the OIDC issuer could not be fetched"'),
        expect.stringContaining("not recorded"),
      ]);
      own.fails = false;
      await waitFor(async () => (await whoami(jwt, at)).status === 200, "the issuer", 5_000);
      expect(lines.filter((line) => line.includes("answers again"))).toHaveLength(1);

      // Those it has are good while it is away, whatever else is shown.
      own.fails = true;
      const strange = await stranger.sign({ iss: own.url }, { header: { kid: "unknown" } });
      const fetched = (): number => own.asked.filter((path) => path === "/keys").length;
      await waitFor(
        async () => (await whoami(strange, at)).status === 429 && fetched() === 2,
        "a look",
        5_000,
      );
      for (let n = 0; n < 5; n++) expect((await whoami(strange, at)).status).toBe(429);
      expect((await whoami(jwt, at)).status).toBe(200);
      expect(fetched()).toBe(2);
    } finally {
      await at.close();
      await own.stop();
    }
  });

  it("can stand at an address that is configured", async () => {
    const at = await start({ jwksUri: `${issuer.url}/keys` });
    try {
      const before = issuer.asked.length;
      expect((await whoami(await issuer.sign(), at)).status).toBe(200);
      expect(issuer.asked.slice(before)).toEqual(["/keys"]);
    } finally {
      await at.close();
    }
  });
});
