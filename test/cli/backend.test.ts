import { lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import { adminToken } from "../../src/cli/admin-token.js";
import { type BackendFlags, readPublicUrl, readStatic, readTls } from "../../src/cli/backend-options.js";
import { publishPolicies } from "../../src/cli/policy/publish.js";
import { createLogger } from "../../src/log.js";
import { type BackendProcess, startBackend } from "../fixtures/backend/process.js";
import { person } from "../fixtures/backend/store.js";
import { makePlace, type Place } from "../fixtures/gateway.js";

let place: Place;
let ending: Array<() => Promise<void>>;
beforeEach(() => {
  place = makePlace();
  ending = [];
});
afterEach(async () => {
  await Promise.all(ending.map((end) => end()));
  place.remove();
});

async function start(
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<BackendProcess> {
  const backend = await startBackend(place, args, env);
  ending.push(() => backend.stop());
  return backend;
}
async function open(): Promise<Service> {
  const log = createLogger("silent");
  const service = await openBackend({ home: place.home, holdExpires: 60_000, log });
  ending.push(() => service.close());
  return service;
}
const ask = (backend: BackendProcess, path: string): Promise<Response> =>
  fetch(`${backend.url}${path}`, { headers: { authorization: `Bearer ${backend.token}` } });
const pem = (name: string): string => fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url));

describe("aegis backend", () => {
  it("makes an admin token for its owner alone, says where it is, and never what", async () => {
    const backend = await start([], { AEGIS_LOG_LEVEL: "trace" });
    expect(backend.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const file = join(place.home, "admin.token");
    expect(lstatSync(file).mode & 0o777).toBe(0o600);
    expect(backend.stderr()).toContain(`a new admin token is in ${file}`);
    expect((await ask(backend, "/metrics")).status).toBe(200);
    expect(backend.stderr()).toContain(`people decide at ${backend.url}/approvals\n`);
    expect((await fetch(backend.url)).url).toBe(`${backend.url}/sign-in?to=%2Fapprovals`);
    await backend.stop();
    expect(backend.stderr()).not.toContain("aegis_");
  });

  it("serves the API, its document and the page of it, and built pages, from the built program", async () => {
    mkdirSync(join(place.work, "board"));
    writeFileSync(join(place.work, "board/index.html"), "<title>Board</title>");
    writeFileSync(join(place.home, "config.yaml"), "origins: [https://board.example.com]\n");
    const backend = await start(["--static", "board"]);
    for (const [path, text] of [
      ["/healthz", "ok"],
      ["/readyz", "ready"],
      ["/v1", '"product":"aegis"'],
      ["/openapi.json", '"openapi":"3.1.0"'],
      ["/docs", "swagger-ui"],
      ["/docs/static/swagger-ui-bundle.js", "SwaggerUI"],
      ["/agents", "["],
      ["/", "<title>Board</title>"],
    ] as const) {
      const answer = await ask(backend, path);
      expect([path, answer.status, (await answer.text()).includes(text)]).toEqual([path, 200, true]);
    }
    const origin = "https://board.example.com";
    const elsewhere = await fetch(`${backend.url}/healthz`, { headers: { origin } });
    expect(elsewhere.headers.get("access-control-allow-origin")).toBe(origin);
  });

  it.each(["SIGTERM", "SIGINT"] as const)(
    "ends within two seconds of %s, streams and all",
    async (signal) => {
      const backend = await start();
      const stream = await ask(backend, "/v1/events");
      expect(stream.status).toBe(200);
      const over = stream.text().catch(() => "");
      const since = performance.now();
      backend.child.kill(signal);
      const code = await new Promise((resolve) => backend.child.once("exit", resolve));
      expect([code, performance.now() - since < 2000]).toEqual([0, true]);
      await over;
      expect(backend.stderr()).not.toMatch(/"level":[56]0/);
    },
  );

  it("listens beyond this machine with TLS, or with --insecure and a warning, and else not at all", async () => {
    const refused = await place.cli(["backend", "--port", "0", "--host", "0.0.0.0"]);
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toMatch(/beyond this machine.*\n.*--tls-cert/);
    const secure = await start(["--host", "0.0.0.0", "--tls-cert", pem("cert"), "--tls-key", pem("key")]);
    expect(secure.url).toMatch(/^https:\/\/localhost:/);
    expect(secure.stderr()).not.toContain("warning");
    const insecure = await start(["--host", "0.0.0.0", "--insecure"]);
    expect(insecure.stderr()).toMatch(/warning: --insecure: .* reads every token/);
    const { port } = new URL(insecure.url);
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
  });

  it("says that a port is taken, and what to do", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    const { code, stderr } = await place.cli(["backend", "--port", String(port)]);
    await new Promise((resolve) => taken.close(resolve));
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`127\\.0\\.0\\.1:${port} is taken by another program\\.\n.*--port`));
  });

  it.each([
    [["--port", "70000"], 2, "It must be a port"],
    [["--backend", "http://localhost:1"], 2, "unknown option"],
    [["--policies", "bad"], 1, "bot.yaml:2:8"],
  ])("refuses %j, and says why", async (args, code, reason) => {
    mkdirSync(join(place.work, "bad"));
    writeFileSync(join(place.work, "bad/bot.yaml"), "agent: bot\nallow: 7\n");
    expect(await place.cli(["backend", "--port", "0", ...args])).toMatchObject({
      code,
      stdout: "",
      stderr: expect.stringContaining(reason),
    });
  });
});

describe("a flag of aegis backend", () => {
  const flags = (over: Partial<BackendFlags>): BackendFlags => ({ port: 0, host: "127.0.0.1", ...over });

  it.each<[Partial<BackendFlags>, string]>([
    [{ tlsCert: pem("cert") }, "belong together"],
    [{ tlsKey: pem("key") }, "belong together"],
    [{ tlsCert: pem("key"), tlsKey: pem("cert") }, "cannot be used"],
    [{ tlsCert: "/nowhere.pem", tlsKey: pem("key") }, "it does not exist"],
    [{ publicUrl: "aegis.example.com" }, "--public-url is not the URL"],
    [{ publicUrl: "https://a:b@aegis.example.com" }, "--public-url is not the URL"],
    [{ publicUrl: "https://aegis.example.com/path" }, "--public-url is not the URL"],
    [{ publicUrl: "ftp://aegis.example.com" }, "--public-url is not the URL"],
    [{ static: "/nowhere" }, "has no index.html"],
  ])("%j is refused, and why is said", async (over, reason) => {
    const read = async (): Promise<unknown> => [
      await readTls(flags(over)),
      readPublicUrl(flags(over)),
      readStatic(flags(over)),
    ];
    await expect(read()).rejects.toMatchObject({ code: "usage", message: expect.stringContaining(reason) });
  });
});

describe("the admin token", () => {
  it("is kept while it is valid, and made anew when it is not any more", async () => {
    const service = await open();
    const text = (): string => readFileSync(join(place.home, "admin.token"), "utf8").trim();
    expect((await adminToken(service, place.home)).fresh).toBe(true);
    const first = text();
    expect(await service.authenticate(first)).toMatchObject({ role: "admin", agent: null });
    expect((await adminToken(service, place.home)).fresh).toBe(false);
    expect(text()).toBe(first);
    await service.revokeToken((await service.authenticate(first))?.token ?? 0, person());
    expect((await adminToken(service, place.home)).fresh).toBe(true);
    expect(text()).not.toBe(first);
    // One that is valid and of another role is none of an admin.
    const { token } = await service.createToken({ name: "x", role: "auditor" }, person());
    writeFileSync(join(place.home, "admin.token"), token);
    expect((await adminToken(service, place.home)).fresh).toBe(true);
    expect(await service.authenticate(text())).toMatchObject({ role: "admin" });
  });

  it("takes the place of a link, and leaves what it led to alone", async () => {
    const elsewhere = join(place.root, "elsewhere");
    writeFileSync(elsewhere, "untouched");
    symlinkSync(elsewhere, join(place.home, "admin.token"));
    await adminToken(await open(), place.home);
    expect(readFileSync(elsewhere, "utf8")).toBe("untouched");
    const { mode } = lstatSync(join(place.home, "admin.token"));
    expect([mode & 0o170000, mode & 0o777]).toEqual([0o100000, 0o600]);
  });
});

describe("policies", () => {
  const write = (folder: string, text: string): void => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "bot.yaml"), text);
  };

  it("of --policies come into force, and stay so without the flag", async () => {
    const service = await open();
    expect((await publishPolicies(service, place.home, undefined)).said).toMatch(/no policies are in force/);
    write(place.policies, "agent: bot\nallow: [files__read]\n");
    expect((await publishPolicies(service, place.home, place.policies)).said).toMatch(/is in force, from /);
    const first = (await service.policy())?.revision;
    expect((await publishPolicies(service, place.home, place.policies)).said).toMatch(/stays in force/);
    expect((await publishPolicies(service, place.home, undefined)).said).toContain(first?.slice(0, 12));
    write(place.policies, "agent: bot\nblock: [files__read]\n");
    await publishPolicies(service, place.home, place.policies);
    expect((await service.policy())?.revision).not.toBe(first);
  });

  it("of AEGIS_HOME/policies come into force where nothing is, and never later", async () => {
    const service = await open();
    write(join(place.home, "policies"), "agent: bot\nallow: [files__read]\n");
    expect((await publishPolicies(service, place.home, undefined)).said).toMatch(/is in force, from /);
    const first = (await service.policy())?.revision;
    write(join(place.home, "policies"), "agent: bot\nblock: [files__read]\n");
    await publishPolicies(service, place.home, undefined);
    expect((await service.policy())?.revision).toBe(first);
  });

  it("of a folder without any are a mistake, and change nothing", async () => {
    const service = await open();
    write(place.policies, "agent: bot\nallow: [files__read]\n");
    await publishPolicies(service, place.home, place.policies);
    const before = await service.policy();
    await expect(publishPolicies(service, place.home, place.work)).rejects.toThrow("holds no policy file");
    expect(await service.policy()).toEqual(before);
  });
});
