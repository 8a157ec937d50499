import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import type { RegisterRoutes } from "../../../src/backend/http/app.js";
import type { Service } from "../../../src/backend/service.js";
import { AegisError } from "../../../src/errors.js";
import { startServer, stubs, type TestServer } from "../../fixtures/backend/http.js";
import { waitFor } from "../../fixtures/backend/store.js";

/** Faults of the store, where a test asks for them. */
let fault: Error | "hangs" | null = null;
function breakable(service: Service): Service {
  return new Proxy(service, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (name !== "newestRecord" && name !== "stats" && name !== "agents")
          return value.apply(target, args);
        if (fault === "hangs") return new Promise(() => {});
        return fault === null ? value.apply(target, args) : Promise.reject(fault);
      };
    },
  });
}

const body = z.strictObject({ name: z.string().max(300), limit: z.number().int().optional() });

/** Routes of the table with handlers that go wrong in every way. */
const failing: RegisterRoutes = (app, { service }) => {
  app.post("/v1/kill", { schema: { body } }, async ({ body: { name } }) => ({ name }));
  app.get("/v1/agents", async () => service.agents());
  app.get("/v1/whoami", async ({ principal }) => principal);
  app.post("/v1/approvals/:id/decision", async () => {
    throw new AegisError("approval_settled", "Approval 1 was decided already.", { hint: "Look at it." });
  });
  app.get(
    "/v1/approvals/:id",
    { schema: { params: z.object({ id: z.coerce.number().int() }) } },
    async () => ({}),
  );
  app.get(
    "/v1/ledger",
    {
      schema: { querystring: z.strictObject({ limit: z.coerce.number().int().min(1).max(100).optional() }) },
    },
    async () => [],
  );
  app.get(
    "/v1/stats",
    { schema: { response: { 200: z.object({ a: z.number() }) } } },
    async () => ({ a: "no" }) as never,
  );
  app.get("/v1/policies", async () => {
    throw new Error("secret detail of the inside");
  });
};

const compat: RegisterRoutes = (app) => {
  app.get("/agents/:name/logs", async () => {
    throw new AegisError("unknown_agent", "No such agent.", { hint: "A hint." });
  });
};

let server: TestServer;
beforeAll(async () => {
  server = await startServer({
    routes: { v1: stubs("v1", failing), compat: stubs("compat", compat) },
    wrap: breakable,
  });
});
afterAll(() => server.close());

const kill = (sent: unknown, headers: Record<string, string> = {}) =>
  server.ask("/v1/kill", { method: "POST", token: "admin", body: sent, headers });

describe("bad input", () => {
  it.each([
    ["a missing member", {}, ["body", "name"], "missing"],
    ["a wrong type", { name: 7 }, ["body", "name"], "invalid_type"],
    ["null", { name: null }, ["body", "name"], "invalid_type"],
    ["a member that is not known", { name: "a", more: 1 }, ["body", "more"], "extra_forbidden"],
    ["a list", [], ["body"], "invalid_type"],
    ["a fraction", { name: "a", limit: 1.5 }, ["body", "limit"], "invalid_type"],
    ["a long text", { name: "x".repeat(500_000) }, ["body", "name"], "too_big"],
  ])("answers %s with 422 and where it is", async (_what, sent, loc, type) => {
    const answer = await kill(sent);
    expect(answer).toMatchObject({ status: 422, json: { detail: [{ loc, type, msg: expect.any(String) }] } });
    expect(answer.text.length).toBeLessThan(500);
  });

  it.each([
    ["malformed JSON", '{"name": '],
    ["an empty body", ""],
    ["a prototype", '{"name": "a", "__proto__": {"admin": true}}'],
    ["a prototype further in", '{"name": "a", "x": [{"\\u005f_proto__": 1}]}'],
    ["a constructor's prototype", '{"name": "a", "constructor": {"prototype": {}}}'],
  ])("answers %s with 422", async (_what, sent) => {
    expect(await kill(sent)).toMatchObject({
      status: 422,
      json: { detail: [{ loc: ["body"], type: "json_invalid" }] },
    });
  });

  it("survives nesting a hundred thousand deep", async () => {
    expect((await kill("[".repeat(100_000))).status).toBe(422);
    expect((await kill(`{"name":${"[".repeat(100_000)}${"]".repeat(100_000)}}`)).status).toBe(422);
  });

  it("lists a bounded number of problems", async () => {
    const sent = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`${i}${"k".repeat(150)}`, 1]));
    const { status, json, text } = await kill(sent);
    expect([status, json.detail.length <= 20, text.length < 10_000]).toEqual([422, true, true]);
  });

  it("names the place in query and path", async () => {
    expect(await server.ask("/v1/ledger?limit=x", { token: "admin" })).toMatchObject({
      status: 422,
      json: { detail: [{ loc: ["query", "limit"] }] },
    });
    expect(await server.ask("/v1/ledger?limit=1000000000", { token: "admin" })).toMatchObject({
      status: 422,
    });
    expect(await server.ask("/v1/approvals/abc", { token: "admin" })).toMatchObject({
      status: 422,
      json: { detail: [{ loc: ["path", "id"] }] },
    });
  });

  it.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"])(
    "takes no body of type %s",
    async (type) => {
      expect(await kill('{"name":"a"}', { "content-type": type })).toMatchObject({
        status: 415,
        json: { detail: expect.any(String) },
      });
    },
  );

  it("takes no body over 1 MiB where it is no call", async () => {
    const name = "x".repeat(1024 * 1024);
    expect(await kill({ name })).toMatchObject({ status: 413, json: { detail: "The body is too large." } });
  });

  it.each(["/v1/%zz", "/v1/approvals/%", "/v1/%00", "/v1/..%2f..%2fetc", "//", "/v1/approvals/1/", "*"])(
    "answers the path %s with 4xx and a detail",
    async (path) => {
      const { status, json } = await server.ask(path, { token: "admin" });
      expect([status >= 400 && status < 500, typeof json?.detail]).toEqual([true, "string"]);
    },
  );

  it("takes parts of a path up to 1024 characters", async () => {
    const path = (length: number) => `/agents/${"a".repeat(length)}/policies`;
    expect((await server.ask(path(1024), { token: "admin" })).status).toBe(200);
    expect(await server.ask(path(1025), { token: "admin" })).toMatchObject({
      status: 414,
      json: { detail: expect.any(String) },
    });
  });

  it("answers a method that the path does not have with 405, and says which it has", async () => {
    expect(await server.ask("/v1/approvals/7?x=1", { method: "DELETE", token: "admin" })).toMatchObject({
      status: 405,
      headers: { allow: "GET" },
      json: { detail: "Method Not Allowed" },
    });
    expect((await server.ask("/v1/tokens", { method: "PUT", token: "admin" })).headers.allow).toBe(
      "GET, POST",
    );
    expect((await server.ask("/v1/nothing", { method: "DELETE", token: "admin" })).status).toBe(404);
  });

  it("answers what is not HTTP, and a header without end, and goes on", async () => {
    const { port } = new URL(server.url);
    const say = (text: string): Promise<string> =>
      new Promise((resolve, reject) => {
        let heard = "";
        const socket = connect(Number(port), "127.0.0.1", () => socket.write(text));
        socket.on("data", (chunk: Buffer) => {
          heard += chunk.toString();
        });
        socket.on("error", reject).on("close", () => resolve(heard));
      });
    expect(await say("\x16\x03\x01\x02\x00 hello\r\n\r\n")).toMatch(
      /^HTTP\/1\.1 400 .*"detail":"Bad Request"/s,
    );
    expect(await say(`GET / HTTP/1.1\r\nx: ${"x".repeat(20_000)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /);
    expect(
      await say(
        "POST /v1/kill HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
      ),
    ).toMatch(/^HTTP\/1\.1 400 /);
    expect((await server.ask("/healthz")).status).toBe(200);
  });
});

describe("an error", () => {
  it("has its status and detail; /v1 adds its code and a hint", async () => {
    expect(await server.ask("/v1/approvals/1/decision", { method: "POST", token: "admin" })).toMatchObject({
      status: 409,
      json: { detail: "Approval 1 was decided already.", code: "approval_settled", hint: "Look at it." },
    });
    const { status, json } = await server.ask("/agents/x/logs", { token: "admin" });
    expect([status, json]).toEqual([404, { detail: "No such agent." }]);
  });

  it("of ours is 500 and says nothing of the inside", async () => {
    for (const path of ["/v1/policies", "/v1/stats"]) {
      const { status, json } = await server.ask(path, { token: "admin" });
      expect([status, json]).toEqual([500, { detail: "Internal Server Error" }]);
    }
  });

  it("of the store is 503, and gone with it", async () => {
    fault = new AegisError("backend_unavailable", "The store could not write: /secret/path is full.");
    const refused = await server.ask("/v1/agents", { token: "admin" });
    fault = null;
    expect(refused).toMatchObject({ status: 503, json: { code: "backend_unavailable" } });
    expect(refused.text).not.toContain("secret");
    expect((await server.ask("/v1/agents", { token: "admin" })).status).toBe(200);
  });
});

describe("an answer", () => {
  it("is kept by nobody, shown as what it is, and in no frame", async () => {
    for (const path of ["/healthz", "/v1/whoami", "/nowhere", "/v1/%zz"]) {
      const { headers } = await server.ask(path, { token: "admin" });
      expect(headers).toMatchObject({
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "content-security-policy": expect.stringMatching(/default-src 'none'.*frame-ancestors 'none'/),
        "cross-origin-resource-policy": "same-origin",
      });
      expect(headers).not.toHaveProperty("strict-transport-security");
      expect(headers["content-type"]).toMatch(/^application\/json/);
    }
  });
});

describe("health", () => {
  it("/healthz says that the process lives, whatever its store does", async () => {
    fault = new Error("gone");
    const { status, json } = await server.ask("/healthz");
    fault = null;
    expect([status, json]).toEqual([200, { status: "ok" }]);
  });

  it.each(["fails", "hangs"])("/readyz says so when the store %s, and when it is back", async (how) => {
    await waitFor(async () => (await server.ask("/readyz")).status === 200, "ready");
    fault = how === "hangs" ? "hangs" : new Error("gone");
    await waitFor(async () => (await server.ask("/readyz")).status === 503, "not ready");
    fault = null;
    await waitFor(async () => (await server.ask("/readyz")).status === 200, "ready again");
  });
});

describe("metrics", () => {
  const metrics = async (): Promise<string> => (await server.ask("/metrics", { token: "auditor" })).text;

  it("count requests by route and not by path, and what the store holds", async () => {
    await server.ask("/v1/approvals/17", { token: "admin" });
    await server.ask("/made/up/path", { token: "admin" });
    const text = await metrics();
    expect(text).toMatch(
      /^aegis_http_request_duration_seconds_count\{method="GET",route="\/v1\/approvals\/:id",status="200"\} \d/m,
    );
    expect(text).toMatch(/route="unknown"/);
    expect(text).not.toMatch(/made\/up|approvals\/17/);
    expect(text).toMatch(/^aegis_ledger_head [1-9]/m);
    expect(text).toMatch(/^aegis_approvals_pending 0$/m);
    expect(text).toMatch(/^aegis_store_up 1$/m);
    expect(text).toMatch(/^process_resident_memory_bytes \d/m);
    expect(text).toMatch(/^aegis_event_stream_clients 0$/m);
  });

  it("count failed logins and faults of the store", async () => {
    await server.ask("/v1/whoami", { token: "aegis_wrong" });
    expect(await metrics()).toMatch(/^aegis_failed_logins_total [1-9]/m);
    expect(await metrics()).toMatch(/^aegis_store_faults_total [1-9]/m);
  });

  it("say that the store does not answer, and the rest all the same", async () => {
    fault = "hangs";
    const text = await metrics();
    fault = null;
    expect(text).toMatch(/^aegis_store_up 0$/m);
    expect(text).toMatch(/^process_resident_memory_bytes \d/m);
    expect(await metrics()).toMatch(/^aegis_store_up 1$/m);
  });
});

describe("the page of the document", () => {
  it("loads what it needs from this server alone, and nothing inline", async () => {
    const page = await server.ask("/docs", { token: "auditor" });
    expect(page.status).toBe(200);
    expect(page.headers["content-security-policy"]).toMatch(/script-src 'self';/);
    expect(page.text).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>/);
    expect(page.text).not.toMatch(/\son\w+=|https?:\/\//);
    const loaded = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, path]) => path ?? "");
    expect(loaded.length).toBeGreaterThan(4);
    for (const path of loaded)
      expect([path, (await server.ask(path, { token: "auditor" })).status]).toEqual([path, 200]);
    const start = await server.ask("/docs/static/swagger-initializer.js", { token: "auditor" });
    expect(start.text).toContain('"validatorUrl":null');
  });
});
