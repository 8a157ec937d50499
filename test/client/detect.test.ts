import { readFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { readAddress } from "../../src/client/address.js";
import { detect } from "../../src/client/detect.js";
import { Requests } from "../../src/client/requests.js";
import { OriginalServer } from "../fixtures/original-backend.js";
import { ScriptedBackend } from "../fixtures/scripted-backend.js";
import { repository } from "../fixtures/servers.js";

const running: Array<{ stop(): Promise<void> }> = [];
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
});

function ask(url: string): ReturnType<typeof detect> {
  const requests = new Requests(readAddress(url, "test", null));
  running.push({ stop: () => requests.close() });
  return detect(requests);
}

async function serve(server: Server, scheme = "http"): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  running.push({
    stop: async () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const answering = (listener: RequestListener): Promise<string> => serve(createServer(listener));

describe("what answers at an address", () => {
  it("is an aegis backend where it says so, whatever path it is below", async () => {
    const server = await ScriptedBackend.start();
    running.push(server);
    expect(await ask(server.url)).toEqual({ kind: "aegis", version: "9.9.9" });
    const proxy = await answering((request, response) => {
      const known = request.url === "/behind/aegis/v1";
      response
        .writeHead(known ? 200 : 404, { "content-type": "application/json" })
        .end('{"product":"aegis","version":"1","api":1}');
    });
    expect(await ask(`${proxy}/behind/aegis/`)).toEqual({ kind: "aegis", version: "1" });
  });

  it("is an original backend where only the old contract is known; nothing is changed there", async () => {
    const server = await OriginalServer.start();
    running.push(server);
    expect(await ask(server.url)).toEqual({ kind: "original" });
    expect(server.asked.every((line) => line.startsWith("GET "))).toBe(true);
  });

  it.each([
    ["a page", 200, "text/html", "<html></html>"],
    ["JSON of another product", 200, "application/json", '{"product":"other","version":"1","api":1}'],
    ["an api of the future", 200, "application/json", '{"product":"aegis","version":"1","api":2}'],
    ["not found", 404, "application/json", '{"detail":"Not Found"}'],
    ["a redirect", 302, "text/plain", ""],
  ])("is said to be none where it sends %s", async (_what, status, type, body) => {
    const url = await answering((_request, response) =>
      response.writeHead(status, { "content-type": type, location: "http://127.0.0.1:9/" }).end(body),
    );
    await expect(ask(url)).rejects.toMatchObject({ code: "backend_unsupported" });
  });

  it.each([502, 503, 504, 429])("is away where a proxy says %i", async (status) => {
    const url = await answering((_request, response) => response.writeHead(status).end("<html></html>"));
    await expect(ask(url)).rejects.toMatchObject({ code: "backend_unavailable" });
  });

  it("is not let in without a credential", async () => {
    const url = await answering((_request, response) => response.writeHead(401).end());
    await expect(ask(url)).rejects.toMatchObject({ code: "not_permitted" });
  });

  it("is away where its certificate is signed by nobody known (T11)", async () => {
    const folder = join(repository, "test/fixtures/tls");
    const tls = { cert: readFileSync(join(folder, "cert.pem")), key: readFileSync(join(folder, "key.pem")) };
    const url = await serve(
      createTlsServer(tls, (_request, response) => response.end('{"product":"aegis","version":"1","api":1}')),
      "https",
    );
    await expect(ask(url)).rejects.toMatchObject({ code: "backend_unavailable" });
  });
});
