import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { connectClient } from "../fixtures/clients.js";
import {
  type Finished,
  jsonLines,
  main,
  makePlace,
  type Place,
  startHttpGateway,
  wrapClient,
  wrapWay,
} from "../fixtures/gateway.js";
import { fakeServer } from "../fixtures/servers.js";

let place: Place;
beforeEach(() => {
  place = makePlace();
});
afterEach(() => place.remove());

const run = (...args: string[]): Promise<Finished> => place.cli(args);

function fakeConfig(): { servers: Record<string, unknown>; policies: string } {
  const [command, ...args] = fakeServer();
  return { servers: { fake: { command, args } }, policies: "./policies" };
}

describe("wrap", () => {
  it.each([0, 7])("exits with the code %i of what it wraps", async (code) => {
    const child = spawn(
      process.execPath,
      [main, "wrap", "--", process.execPath, "-e", `process.exit(${code})`],
      {
        env: { ...process.env, AEGIS_HOME: place.home },
        cwd: place.work,
        stdio: ["pipe", "ignore", "ignore"],
      },
    );
    expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(code);
  });

  it("says that a command does not start, and exits with 1", async () => {
    expect(await run("wrap", "--", "no-such-command")).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("no-such-command"),
    });
  });

  it("writes a first policy once where there is none, says where, and never touches one that is there", async () => {
    const [command = "", ...args] = fakeServer();
    const first = await wrapClient(place, "v1", [command, ...args], { agent: "a/../b" });
    await first.tools();
    const refusal = await first.call("echo", {}, { timeout: 800 }).catch(() => null);
    expect(refusal).toBeNull();
    await first.close();
    const [name = ""] = readdirSync(place.policies);
    expect(name).toMatch(/^a-b-[0-9a-f]{8}\.yaml$/);
    const file = join(place.policies, name);
    expect(first.stderr()).toContain(`A first policy is in ${file}`);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, "utf8");
    expect(text).toContain("default: review");
    expect(text).toMatch(/# - fake__echo/);

    const again = await wrapClient(place, "v1", [command, ...args], { agent: "a/../b" });
    await again.tools();
    await again.close();
    expect(again.stderr()).not.toContain("A first policy");
    expect(readFileSync(file, "utf8")).toBe(text);
  });

  it("takes the agent from the flag, then AEGIS_AGENT, then default", async () => {
    for (const [flags, env] of [
      [["--agent", "flagged"], { AEGIS_AGENT: "named" }],
      [[], { AEGIS_AGENT: "named" }],
      [[], {}],
    ] as const) {
      const client = await connectClient("v1", {
        kind: "stdio",
        command: [process.execPath, main, "wrap", ...flags, "--", ...fakeServer()],
        env: { AEGIS_HOME: place.home, ...env },
        cwd: place.work,
      });
      await client.close();
    }
    const names = jsonLines<{ name: string }>((await run("status", "--json")).stdout).map(({ name }) => name);
    expect(names.toSorted()).toEqual(["default", "flagged", "named"]);
    const unseen = await place.cli(["wrap", "--agent", "a\u200bb", "--", "x"]);
    expect(unseen).toMatchObject({ code: 2, stderr: expect.stringContaining("a\\u200bb") });
  });
});

describe("the gateway does not start", () => {
  it("with a wrong configuration or policy, and says where", async () => {
    const config = place.writeConfig("servers:\n  a: { comand: x }\n");
    expect(await run("gateway", "--config", config)).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(
        /aegis\.yaml:2:8: unknown key "comand" in servers\.a\n {2}Did you mean command\?/,
      ),
    });
    writeFileSync(join(place.policies, "a.yaml"), "agent: a\nallow: [read]\n");
    expect(await run("gateway", "--config", place.writeConfig(fakeConfig()))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("a.yaml:2:9"),
    });
  });

  it("where a server reaches AEGIS_HOME; --allow-home starts it and is recorded", async () => {
    const args = ["--policies", place.policies, "--", ...fakeServer(), "--name", place.root];
    const refused = await run("wrap", ...args);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain(`is given the argument ${place.root}, which holds AEGIS_HOME`);
    expect(refused.stderr).toContain("--allow-home");
    expect(await run("wrap", "--allow-home", ...args)).toMatchObject({ code: 0 });
    const records = jsonLines((await run("log", "--json")).stdout);
    expect(records).toContainEqual(
      expect.objectContaining({
        kind: "gateway",
        agent: "default",
        reason: expect.stringMatching(/^--allow-home: .* holds AEGIS_HOME/),
      }),
    );
  });

  it("on an address that others reach, or one that is taken", async () => {
    const config = place.writeConfig(fakeConfig());
    for (const address of ["0.0.0.0:0", "192.0.2.1:8100"]) {
      expect(await run("gateway", "--config", config, "--http", address)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining("beyond this machine"),
      });
    }
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const address = taken.address();
    const port = typeof address === "object" ? address?.port : 0;
    expect(await run("gateway", "--config", config, "--http", `127.0.0.1:${port}`)).toMatchObject({
      code: 1,
    });
    await new Promise((resolve) => taken.close(resolve));
  });
});

describe("over HTTP", () => {
  it("the first start makes a token for the agent, in a file of this user; later ones keep it while it is valid", async () => {
    const file = join(place.home, "gateway.token");
    const first = await startHttpGateway(place, fakeConfig());
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(first.stderr()).toContain(file);
    expect(first.stderr()).not.toContain(first.token);
    const client = await connectClient("v1", { kind: "http", url: first.url, token: first.token });
    expect((await client.tools()).map(({ name }) => name)).toContain("fake__echo");
    await client.close();
    await first.stop();

    const second = await startHttpGateway(place, fakeConfig());
    expect(second.token).toBe(first.token);
    await second.stop();

    const [token] = jsonLines<{ id: number; name: string; role: string; agent: string }>(
      (await run("token", "list", "--json")).stdout,
    );
    expect(token).toMatchObject({ name: "gateway", role: "agent", agent: "default" });
    await run("token", "revoke", String(token?.id));
    const third = await startHttpGateway(place, fakeConfig());
    expect(third.token).not.toBe(first.token);
    await third.stop();
    expect(readdirSync(place.home).filter((name) => name.startsWith("gateway.token"))).toEqual([
      "gateway.token",
    ]);
  });

  it.each(["SIGINT", "SIGTERM"] as const)("%s ends it with 0 within 2 s", async (signal) => {
    const gateway = await startHttpGateway(place, fakeConfig());
    const client = await connectClient("v1", { kind: "http", url: gateway.url, token: gateway.token });
    await client.tools();
    const ended = new Promise((resolve) => gateway.child.once("exit", resolve));
    const from = performance.now();
    gateway.child.kill(signal);
    expect(await ended).toBe(0);
    expect(performance.now() - from).toBeLessThan(2000);
    await client.close().catch(() => undefined);
  });

  it("is what the configuration's listen asks for", async () => {
    const config = place.writeConfig({ ...fakeConfig(), http: { listen: "127.0.0.1:0" } });
    const child = spawn(process.execPath, [main, "gateway", "--config", config], {
      env: { ...process.env, AEGIS_HOME: place.home },
      cwd: place.work,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    await new Promise<void>((resolve) =>
      child.stderr.on("data", (chunk: Buffer) => {
        said += chunk.toString();
        if (/listening on http:\/\/127\.0\.0\.1:\d+\/mcp\n/.test(said)) resolve();
      }),
    );
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });
});

it("a client's own file is governed, and its entry for aegis passed over", async () => {
  const file = join(place.root, "mcp.json");
  const [command, ...args] = fakeServer();
  writeFileSync(
    file,
    JSON.stringify({
      mcpServers: { "My Fake": { command, args }, aegis: { command: "aegis", args: ["gateway"] } },
    }),
  );
  mkdirSync(join(place.root, "rules"));
  const client = await connectClient("v1", {
    kind: "stdio",
    command: [process.execPath, main, "gateway", "--config", file, "--policies", join(place.root, "rules")],
    env: { AEGIS_HOME: place.home },
    cwd: place.work,
  });
  expect((await client.tools()).map(({ name }) => name)).toContain("my-fake__echo");
  expect(client.stderr()).toContain('the server "My Fake" is called my-fake here');
  expect(client.stderr()).toContain('the entry "aegis" is passed over');
  await client.close();
  expect(existsSync(join(place.root, "rules", "default.yaml"))).toBe(true);
});

it("the way through wrap leaves stdout to the protocol", async () => {
  const way = wrapWay(place, fakeServer());
  if (way.kind !== "stdio") throw new Error("expected stdio");
  const [command = "", ...args] = way.command;
  const child = spawn(command, args, { env: way.env, cwd: way.cwd, stdio: ["pipe", "pipe", "ignore"] });
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.stdin.end('not json\n{"jsonrpc":"2.0","id":1,"method":"ping"}\n');
  expect(await ended).toBe(0);
  for (const line of said.trim().split("\n")) expect(JSON.parse(line)).toMatchObject({ jsonrpc: "2.0" });
});
