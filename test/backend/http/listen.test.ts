import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:https";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { buildApp, type RegisterRoutes } from "../../../src/backend/http/app.js";
import { hostsOf } from "../../../src/backend/http/hosts.js";
import { listen, requireSafeAddress, stop } from "../../../src/backend/http/listen.js";
import { defaultSettings } from "../../../src/backend/http/settings.js";
import { Streams } from "../../../src/backend/http/streams.js";
import { createLogger } from "../../../src/log.js";
import { startServer, stubs, type TestServer } from "../../fixtures/backend/http.js";

const tls = {
  cert: readFileSync(new URL("../../fixtures/tls/cert.pem", import.meta.url), "utf8"),
  key: readFileSync(new URL("../../fixtures/tls/key.pem", import.meta.url), "utf8"),
};

let server: TestServer | null = null;
afterEach(async () => {
  await server?.close();
  server = null;
});

describe("where it listens", () => {
  it.each(["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])("%s needs no TLS", (host) => {
    expect(() => requireSafeAddress(host, null, false)).not.toThrow();
  });

  it.each(["0.0.0.0", "::", "[::]", "10.0.0.1", "aegis.example.com", "127.0.0.1.evil.com", ""])(
    "%j is refused without TLS or --insecure",
    (host) => {
      expect(() => requireSafeAddress(host, null, false)).toThrow(/beyond this machine/);
      expect(() => requireSafeAddress(host, tls, false)).not.toThrow();
      expect(() => requireSafeAddress(host, null, true)).not.toThrow();
    },
  );

  it("that is taken is an error that says so, and is free again afterwards", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    server = await startServer();
    const build = () =>
      buildApp({
        service: (server as TestServer).service,
        log: createLogger("silent"),
        settings: defaultSettings,
        hosts: hostsOf("127.0.0.1", null, []),
        tls: null,
        pages: null,
        routes: {},
      });
    const app = await build();
    await expect(listen(app, "127.0.0.1", port, null)).rejects.toMatchObject({
      code: "address_in_use",
      hint: expect.stringContaining("--port"),
    });
    await stop(app);
    await new Promise((resolve) => taken.close(resolve));
    const again = await build();
    expect(await listen(again, "127.0.0.1", port, null)).toBe(`http://127.0.0.1:${port}`);
    await stop(again);
  });
});

describe("over TLS", () => {
  it("answers, and tells browsers to stay with it", async () => {
    server = await startServer({ tls });
    expect(server.url).toMatch(/^https:/);
    const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
      get(`${server?.url}/healthz`, { ca: tls.cert }, (response) => {
        response.resume();
        resolve(response.headers);
      }).on("error", reject);
    });
    expect(headers["strict-transport-security"]).toBe("max-age=31536000");
  });
});

describe("the end", () => {
  const slow: { finish: (() => void) | null } = { finish: null };
  const routes: RegisterRoutes = (app, { streams }) => {
    app.get("/v1/events", async (request, reply) => {
      const release = streams.hold(request, () => reply.raw.end("event: end\n\n"));
      reply.hijack();
      reply.raw.on("close", release).writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    });
    app.get("/v1/stats", async () => {
      await new Promise<void>((resolve) => {
        slow.finish = resolve;
      });
      return { done: true };
    });
  };
  const start = () => startServer({ routes: { v1: stubs("v1", routes) } });
  const headers = (at: TestServer) => ({ authorization: `Bearer ${at.tokens.admin}` });

  it("ends streams with their last word, and lets a request under way end", async () => {
    const at = await start();
    const stream = await fetch(`${at.url}/v1/events`, { headers: headers(at) });
    const asked = fetch(`${at.url}/v1/stats`, { headers: headers(at) });
    await expect.poll(() => slow.finish).not.toBeNull();
    const closing = at.close();
    expect(await stream.text()).toBe("event: end\n\n");
    slow.finish?.();
    expect(await (await asked).json()).toEqual({ done: true });
    await closing;
    await expect(fetch(`${at.url}/healthz`)).rejects.toThrow();
  });

  it("cuts what takes too long, and idle connections, within two seconds", async () => {
    const at = await start();
    const { port } = new URL(at.url);
    const idle = connect(Number(port), "127.0.0.1");
    await new Promise((resolve) => idle.once("connect", resolve));
    const asked = fetch(`${at.url}/v1/stats`, { headers: headers(at) }).then(
      () => "answered",
      () => "cut",
    );
    slow.finish = null;
    await expect.poll(() => slow.finish).not.toBeNull();
    const since = performance.now();
    await at.close();
    expect(performance.now() - since).toBeLessThan(1_900);
    expect(await asked).toBe("cut");
    idle.destroy();
  });
});

describe("open streams", () => {
  it("end with a credential that is proved no more, and go on while nobody can say", async () => {
    const streams = new Streams(createLogger("silent"));
    const ended: string[] = [];
    let stands: () => Promise<boolean> = async () => true;
    const principal = { name: "a", role: "auditor", agent: null, groups: [], token: 7 } as const;
    const hold = (name: string, proof: () => Promise<boolean>) =>
      streams.hold({ credential: { principal, stands: proof } } as never, () => void ended.push(name));
    hold("one", () => stands());
    const release = hold("other", async () => true);
    await streams.endUnproved();
    expect([ended, streams.open]).toEqual([[], 2]);
    stands = () => Promise.reject(new Error("the store is gone"));
    await streams.endUnproved();
    expect([ended, streams.open]).toEqual([[], 2]);
    stands = async () => false;
    await streams.endUnproved();
    expect([ended, streams.open]).toEqual([["one"], 1]);
    release();
    hold("last", async () => true);
    streams.endAll();
    expect([ended, streams.open]).toEqual([["one", "last"], 0]);
    expect(() => hold("late", async () => true)).toThrow("about to stop");
  });
});

describe("the built pages of a dashboard", () => {
  it("are served at /, to whoever has a token, and nothing beside them", async () => {
    const root = mkdtempSync(join(tmpdir(), "aegis-pages-"));
    const folder = join(root, "dist");
    mkdirSync(join(folder, "assets"), { recursive: true });
    writeFileSync(join(root, "secret.txt"), "secret");
    writeFileSync(join(folder, ".env"), "secret");
    writeFileSync(join(folder, "index.html"), "<script src=/assets/app.js></script>");
    writeFileSync(join(folder, "assets/app.js"), "fetch('/agents')");
    try {
      server = await startServer({
        pages: folder,
        routes: { compat: stubs("compat", (app) => void app.get("/agents", async () => [])) },
      });
      const asking = (path: string, token: string | null = "auditor") =>
        (server as TestServer).ask(path, { token });
      const page = await asking("/");
      expect(page).toMatchObject({ status: 200, text: expect.stringContaining("app.js") });
      expect(page.headers["content-type"]).toMatch(/^text\/html/);
      expect(page.headers["content-security-policy"]).toMatch(/script-src 'self';.*frame-ancestors 'none'/);
      expect((await asking("/assets/app.js")).text).toContain("fetch");
      // The API keeps its paths, and its own headers.
      const api = await asking("/agents");
      expect([api.status, api.json]).toEqual([200, []]);
      expect(api.headers["content-security-policy"]).toMatch(/default-src 'none'/);
      // A browser asks its user.
      const stranger = await asking("/", null);
      expect([stranger.status, stranger.headers["www-authenticate"]]).toEqual([
        401,
        expect.stringContaining("Basic"),
      ]);
      for (const path of [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/.env",
        "/assets/",
        "/%00",
      ]) {
        const { status, text } = await asking(path);
        expect([path, status >= 400 && status < 500, text.includes("secret")]).toEqual([path, true, false]);
      }
      expect(await asking("/none.js")).toMatchObject({ status: 404, json: { detail: "Not Found" } });
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});
