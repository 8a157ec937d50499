import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type RequestListener } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { HttpServer } from "../../../src/config.js";
import { HttpTransport } from "../../../src/gateway/servers/http.js";
import { createLogger } from "../../../src/log.js";

const ended: Array<() => Promise<unknown>> = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  await Promise.all(ended.splice(0).map((end) => end()));
});

async function listen(listener: RequestListener, tls?: { cert: string; key: string }): Promise<URL> {
  const server = tls === undefined ? createHttpServer(listener) : createHttpsServer(tls, listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ended.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return new URL(`${tls === undefined ? "http" : "https"}://127.0.0.1:${port}/mcp`);
}

/** What came of one frame that was sent to `url` with a credential. */
async function send(url: URL): Promise<{ frames: string[]; failures: string[]; rejected: string | null }> {
  const frames: string[] = [];
  const failures: string[] = [];
  const server: HttpServer = {
    kind: "http",
    url,
    headers: new Map([["authorization", "Bearer server-a-secret"]]),
  };
  const transport = new HttpTransport(
    "files",
    server,
    1_000_000,
    {
      frame: (text) => frames.push(text),
      failed: (_key, reason) => failures.push(reason),
      closed: (reason) => failures.push(reason),
    },
    createLogger(),
    1,
  );
  ended.push(() => transport.close());
  const rejected = await transport.send('{"jsonrpc":"2.0","id":1,"method":"ping"}', { key: "1" }).then(
    () => null,
    (thrown: unknown) => String(thrown),
  );
  if (rejected === null) await expect.poll(() => frames.length + failures.length).toBeGreaterThan(0);
  return { frames, failures, rejected };
}

const pong = '{"jsonrpc":"2.0","id":1,"result":{}}';
const answer: RequestListener = (_request, response) => {
  response.writeHead(200, { "content-type": "application/json" }).end(pong);
};

describe("a server behind HTTP", () => {
  it.each([301, 302, 303, 307, 308])(
    "that answers %i is not followed: its credential goes nowhere else (T6, D9)",
    async (status) => {
      const seen: IncomingMessage[] = [];
      const elsewhere = await listen((request, response) => {
        seen.push(request);
        answer(request, response);
      });
      const home = await listen((_request, response) => {
        response.writeHead(status, { location: elsewhere.href }).end();
      });
      const { frames, failures } = await send(home);
      expect(frames).toEqual([]);
      expect(failures).toHaveLength(1);
      expect(seen).toEqual([]);
      // The twin: asked where it is, it answers.
      expect((await send(elsewhere)).frames).toEqual([pong]);
    },
  );

  it("whose certificate nobody vouches for is not spoken to, whatever the environment says (T11)", async () => {
    const folder = new URL("../../fixtures/tls/", import.meta.url);
    const tls = {
      cert: readFileSync(new URL("cert.pem", folder), "utf8"),
      key: readFileSync(new URL("key.pem", folder), "utf8"),
    };
    let asked = 0;
    const url = await listen((request, response) => {
      asked++;
      answer(request, response);
    }, tls);
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    const { frames, rejected } = await send(url);
    expect(rejected).toMatch(/could not be reached/);
    expect({ frames, asked }).toEqual({ frames: [], asked: 0 });
  });
});
