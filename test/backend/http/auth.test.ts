import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { RegisterRoutes } from "../../../src/backend/http/app.js";
import { network } from "../../../src/backend/http/failed-logins.js";
import type { Service } from "../../../src/backend/service.js";
import { type Answer, startServer, stubs, type TestServer } from "../../fixtures/backend/http.js";
import { person, waitFor } from "../../fixtures/backend/store.js";

let down = false;
/** A backend that does not answer, while `down`. */
function breakable(service: Service): Service {
  return new Proxy(service, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (name === "authenticate" && down) return () => Promise.reject(new Error("the store is gone"));
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const streaming: RegisterRoutes = (app, { streams }) => {
  app.get("/v1/whoami", async ({ principal }) => principal);
  app.get("/v1/events", async (request, reply) => {
    const release = streams.hold(request, () => reply.raw.end());
    reply.hijack();
    reply.raw.on("close", release).writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
  });
};

let server: TestServer;
beforeEach(async () => {
  server = await startServer({ routes: { v1: stubs("v1", streaming) }, wrap: breakable });
});
afterEach(() => server.close());

const whoami = (headers: Record<string, string | string[]> = {}): Promise<Answer> =>
  server.ask("/v1/whoami", { headers });
const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString("base64")}`;
const refusals = async (): Promise<readonly string[]> =>
  (await server.service.records({ kinds: ["login_refused", "refused"], limit: 1000 })).map(
    ({ reason }) => reason ?? "",
  );

describe("a credential", () => {
  it("is a token as Bearer, or as the password of Basic, whatever the user name", async () => {
    const { admin, agent } = server.tokens;
    for (const authorization of [
      `Bearer ${admin}`,
      `bearer ${admin}`,
      basic(`sdk:${admin}`),
      basic(`:${admin}`),
    ]) {
      expect(await whoami({ authorization })).toMatchObject({
        status: 200,
        json: { name: "admin", role: "admin" },
      });
    }
    expect(await whoami({ authorization: `Bearer ${agent}` })).toMatchObject({
      json: { role: "agent", agent: "claude-desktop" },
    });
  });

  it("is asked for, in both ways, where there is none", async () => {
    const { status, headers, json } = await whoami();
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toBe('Bearer realm="aegis", Basic realm="aegis", charset="UTF-8"');
    expect(json.detail).toMatch(/Authorization: Bearer/);
  });

  it.each([
    ["an empty Bearer", () => "Bearer "],
    ["an unknown token", () => `Bearer aegis_${"A".repeat(43)}`],
    ["a token and something behind it", () => `Bearer ${server.tokens.admin} x`],
    ["a token cut short", () => `Bearer ${server.tokens.admin.slice(0, -1)}`],
    ["another scheme", () => `Digest ${server.tokens.admin}`],
    ["the token alone", () => server.tokens.admin],
    ["Basic that is not base64", () => "Basic ***"],
    ["Basic with the token as the user", () => basic(`${server.tokens.admin}:`)],
    ["Basic without a colon", () => basic(server.tokens.admin)],
    ["a JWT where no issuer is known", () => "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."],
    ["bytes", () => "Bearer \u00ff\u00fe"],
  ])("is refused: %s", async (_what, authorization) => {
    const { status, headers } = await whoami({ authorization: authorization() });
    expect(status).toBe(401);
    expect(headers["www-authenticate"]).toContain("Bearer");
  });

  it("is refused twice, even where both are right", async () => {
    const { admin } = server.tokens;
    const { status, json } = await whoami({ authorization: [`Bearer ${admin}`, `Bearer ${admin}`] });
    expect([status, json.detail]).toEqual([401, expect.stringContaining("twice")]);
  });

  it("ends when it is revoked, and when it expires", async () => {
    const made = await server.service.createToken({ name: "short", role: "auditor", expires: 300 }, person());
    const asked = () => server.ask("/v1/whoami", { token: made.token });
    expect((await asked()).status).toBe(200);
    await waitFor(async () => (await asked()).status === 401, "the end of the token");
    const { id, token } = await server.service.createToken({ name: "other", role: "auditor" }, person());
    expect((await server.ask("/v1/whoami", { token })).status).toBe(200);
    await server.service.revokeToken(id, person());
    expect((await server.ask("/v1/whoami", { token })).status).toBe(401);
  });

  it("is checked before anything of the body is looked at", async () => {
    for (const [body, type] of [
      ["{malformed", "application/json"],
      ["x".repeat(2 * 1024 * 1024), "application/json"],
      ["x", "text/plain"],
    ] as const) {
      const answer = await server.ask("/v1/kill", {
        method: "POST",
        body,
        headers: { "content-type": type },
      });
      expect(answer.status).toBe(401);
    }
  });

  it("is checked before a body has come, however long it takes", async () => {
    const { port } = new URL(server.url);
    const said = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), "127.0.0.1", () =>
        socket.write("POST /v1/kill HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n{"),
      );
      socket.on("error", reject).once("data", (chunk: Buffer) => {
        resolve(chunk.toString());
        socket.destroy();
      });
    });
    expect(said).toMatch(/^HTTP\/1\.1 401 /);
  });

  it("that cannot be checked lets nobody in, and is good again when the backend is back", async () => {
    down = true;
    const refused = await server.ask("/v1/whoami", { token: "admin" });
    down = false;
    expect([refused.status, refused.text.includes("store is gone")]).toEqual([500, false]);
    expect((await server.ask("/v1/whoami", { token: "admin" })).status).toBe(200);
  });
});

describe("failed logins", () => {
  const wrong = (n: number): Promise<Answer> => server.ask("/v1/whoami", { token: `aegis_wrong${n}` });

  it("are answered with 429 and a time after the twentieth of an address, and its valid tokens still pass", async () => {
    const statuses: number[] = [];
    for (let n = 0; n < 22; n++) statuses.push((await wrong(n)).status);
    expect(statuses).toEqual([...Array.from({ length: 20 }, () => 401), 429, 429]);
    const late = await wrong(99);
    expect(Number(late.headers["retry-after"])).toBeGreaterThan(0);
    expect(Number(late.headers["retry-after"])).toBeLessThanOrEqual(60);
    expect((await server.ask("/v1/whoami", { token: "admin" })).status).toBe(200);
    // Whoever sends none has not failed.
    expect((await whoami()).status).toBe(401);
  });

  it("are in the ledger with their address and without the token, and a flood of them is not", async () => {
    for (let n = 0; n < 40; n++) await wrong(n);
    await waitFor(async () => (await refusals()).length >= 10, "records");
    const found = await refusals();
    expect(found).toHaveLength(10);
    expect(found[0]).toMatch(/unknown, expired or revoked.*127\.0\.0\.1/);
    expect(found.join()).not.toContain("aegis_wrong");
  });

  it("are counted by network where the address is IPv6", () => {
    const same = ["2001:db8::1", "2001:db8:0:0:ffff:1:2:3", "2001:db8::ffff:1:2:3", "2001:db8:0:0::"];
    expect(new Set(same.map(network))).toEqual(new Set(["2001:db8:0:0"]));
    expect(network("2001:db8:0:1::1")).not.toBe(network("2001:db8::1"));
    expect(network("::ffff:10.0.0.1")).not.toBe(network("::ffff:10.0.0.2"));
    expect(network("10.0.0.1")).toBe("10.0.0.1");
  });

  it("do not count where nothing was sent", async () => {
    for (let n = 0; n < 30; n++) expect((await whoami()).status).toBe(401);
    expect((await wrong(1)).status).toBe(401);
    await waitFor(async () => (await refusals()).length === 1, "one record");
  });
});

describe("a role that may not", () => {
  it("is told which may, and stands in the ledger", async () => {
    const { status, json } = await server.ask("/v1/kill", { method: "POST", token: "agent", body: {} });
    expect([status, json.detail]).toEqual([403, "This takes the role admin; the token's is agent."]);
    await waitFor(async () => (await refusals()).length === 1, "its record");
    expect((await refusals())[0]).toBe("agent asked for POST /v1/kill; its role is agent");
  });

  it("is that of a gateway, where the token names an agent", async () => {
    const ask = (token: string) => server.ask("/v1/authenticate", { method: "POST", token, body: {} });
    expect((await ask("agent")).status).toBe(403);
    expect((await ask("gateway")).status).toBe(200);
  });
});

describe("a stream", () => {
  /** Resolves when it ends. */
  const follow = async (token: string): Promise<{ readonly ended: Promise<void> }> => {
    const response = await fetch(`${server.url}/v1/events`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(response.status).toBe(200);
    return { ended: response.text().then(() => undefined) };
  };

  it("ends when its token is revoked, and no other does", async () => {
    const { id, token } = await server.service.createToken({ name: "watcher", role: "auditor" }, person());
    const [revoked, other] = [await follow(token), await follow(server.tokens.auditor)];
    let over = false;
    other.ended.then(
      () => {
        over = true;
      },
      () => {},
    );
    const since = performance.now();
    await server.service.revokeToken(id, person());
    await revoked.ended;
    // Heard, and not found out by the look at all credentials every 5 s.
    expect(performance.now() - since).toBeLessThan(2000);
    expect(over).toBe(false);
    expect((await server.ask("/metrics", { token: "admin" })).text).toMatch(
      /^aegis_event_stream_clients 1$/m,
    );
  });
});
