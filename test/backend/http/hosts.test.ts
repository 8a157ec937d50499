import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Answer, routesOf, startServer, stubs, type TestServer } from "../../fixtures/backend/http.js";
import { waitFor } from "../../fixtures/backend/store.js";

const page = "https://board.example.com";
let server: TestServer;
let port: string;
beforeAll(async () => {
  server = await startServer({
    routes: { v1: stubs("v1"), compat: stubs("compat") },
    settings: { origins: [page] },
    publicUrl: "https://aegis.example.com",
  });
  port = new URL(server.url).port;
});
afterAll(() => server.close());

const ask = (
  headers: Record<string, string | string[]>,
  path = "/v1/whoami",
  method = "GET",
): Promise<Answer> => server.ask(path, { token: "admin", headers, method });

describe("the Host header", () => {
  it("is one of our names, with any port", async () => {
    for (const host of [`127.0.0.1:${port}`, "localhost", "LOCALHOST:1", "[::1]:8000", "aegis.example.com"]) {
      expect([host, (await ask({ host })).status]).toEqual([host, 200]);
    }
  });

  it.each([
    "evil.com",
    "evil.com:8000",
    "localhost.evil.com",
    "127.0.0.1.evil.com",
    "127.0.0.1@evil.com",
    "evil.com#localhost",
    "localhost:8000:8000",
    "localhost:x",
    "10.0.0.1",
    "0.0.0.0",
  ])("that is %j is refused", async (host) => {
    expect(await ask({ host })).toMatchObject({
      status: 403,
      json: { detail: expect.stringContaining("Host") },
    });
  });

  it.each([
    ["that stands there twice", ["host: localhost", "host: evil.com"], 403],
    ["that stands there twice and says the same", ["host: localhost", "Host: localhost"], 403],
    ["that is empty", ["host:"], 403],
    ["that is missing", ["x: y"], 400],
  ])("%s is refused", async (_what, lines, status) => {
    const said = await new Promise<string>((resolve, reject) => {
      const request = ["GET /healthz HTTP/1.1", ...lines, "connection: close", "", ""].join("\r\n");
      const socket = connect(Number(port), "127.0.0.1", () => socket.write(request));
      socket.on("error", reject).once("data", (chunk: Buffer) => resolve(chunk.toString()));
    });
    expect(said).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  });

  it("may be any address, and no other name, where we listen on all of them", async () => {
    const open = await startServer({ host: "0.0.0.0" });
    try {
      const at = async (host: string) => (await open.ask("/healthz", { headers: { host } })).status;
      expect(await at("10.1.2.3:8000")).toBe(200);
      expect(await at("[fe80::1]")).toBe(200);
      expect(await at("localhost")).toBe(200);
      expect(await at("evil.com")).toBe(403);
      expect(await at("10.1.2.3.evil.com")).toBe(403);
      expect(await at("999.1.2.3")).toBe(403);
    } finally {
      await open.close();
    }
  });
});

describe("the Origin header", () => {
  it("is that of our own pages, of our public address, or one of those that are named", async () => {
    for (const [host, origin] of [
      [`127.0.0.1:${port}`, `http://127.0.0.1:${port}`],
      ["localhost:8000", "http://localhost:8000"],
      ["aegis.example.com", "https://aegis.example.com"],
      [`127.0.0.1:${port}`, page],
    ] as const) {
      expect([origin, (await ask({ host, origin })).status]).toEqual([origin, 200]);
    }
  });

  it.each([
    "null",
    "",
    "http://evil.com",
    "http://localhost.evil.com",
    "http://127.0.0.1@evil.com",
    "http://localhost:9",
    "http://board.example.com",
    "https://board.example.com.evil.com",
    "https://board.example.com/",
    "https://BOARD.example.com",
    "file://",
  ])("that is %j is refused", async (origin) => {
    const { status, headers, json } = await ask({ origin });
    expect([status, json.detail]).toEqual([403, expect.stringContaining("Origin")]);
    expect(headers).not.toHaveProperty("access-control-allow-origin");
  });

  it("that stands there twice is refused, even where both are ours", async () => {
    const ours = `http://127.0.0.1:${port}`;
    const { status, json } = await ask({ origin: [ours, ours] });
    expect([status, json.detail]).toEqual([403, expect.stringContaining("twice")]);
  });
});

describe("every route", () => {
  it("looks at both, the open ones too", async () => {
    const wrong: string[] = [];
    for (const route of [...routesOf(server.app), "GET /nowhere", "OPTIONS /v1/kill"]) {
      const [method = "", pattern = ""] = route.split(" ");
      const path = pattern.replace(/:\w+|\*/g, "1");
      for (const headers of [{ host: "evil.com" }, { origin: "null" }] as Array<Record<string, string>>) {
        const { status } = await ask(headers, path, method);
        if (status !== 403) wrong.push(`${route} ${JSON.stringify(headers)}: ${status}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("that refuses one leaves a record", async () => {
    const own = await startServer();
    try {
      await own.ask("/healthz", { headers: { origin: "http://evil.com" } });
      const seen = async () => own.service.records({ kinds: ["login_refused"], limit: 10 });
      await waitFor(async () => (await seen()).length === 1, "the record");
      expect((await seen())[0]?.reason).toMatch(/Origin.*127\.0\.0\.1/);
    } finally {
      await own.close();
    }
  });
});

describe("CORS", () => {
  const asks = { "access-control-request-method": "POST", "access-control-request-headers": "authorization" };

  it("lets pages of named origins ask, without a credential for the question alone", async () => {
    const question = await server.ask("/v1/kill", { method: "OPTIONS", headers: { origin: page, ...asks } });
    expect(question).toMatchObject({
      status: 204,
      headers: {
        "access-control-allow-origin": page,
        "access-control-allow-methods": expect.stringContaining("POST"),
        "access-control-allow-headers": expect.stringContaining("authorization"),
        vary: "Origin",
      },
    });
    // A page elsewhere carries its token itself: never what the browser keeps.
    expect(question.headers).not.toHaveProperty("access-control-allow-credentials");
    expect(await ask({ origin: page })).toMatchObject({
      status: 200,
      headers: { "access-control-allow-origin": page },
    });
    expect((await server.ask("/v1/whoami", { headers: { origin: page } })).status).toBe(401);
  });

  it("gives nobody else anything: no header, and no answer to the question", async () => {
    for (const origin of ["https://evil.com", "null"]) {
      const { status, headers } = await server.ask("/v1/kill", {
        method: "OPTIONS",
        headers: { origin, ...asks },
      });
      expect(status).toBe(403);
      expect(Object.keys(headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
    const own = await ask({ origin: `http://127.0.0.1:${port}` });
    expect(Object.keys(own.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
  });
});
