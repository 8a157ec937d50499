/** A gateway that was started before its backend. */
import pino from "pino";
import { afterEach, beforeEach, expect, it } from "vitest";
import { readAddress } from "../../src/client/address.js";
import type { BackendEvent, Intent } from "../../src/client/backend.js";
import { LateBackend } from "../../src/client/late.js";
import { openRemote, type Remote } from "../../src/client/remote.js";
import { AegisError } from "../../src/errors.js";
import { eventually } from "../fixtures/person.js";
import { ScriptedBackend } from "../fixtures/scripted-backend.js";

const log = pino({ level: "silent" });
let server: ScriptedBackend;
let late: LateBackend;
let found: Remote[];

async function open(url: string): Promise<LateBackend> {
  const address = readAddress(url, "test", "secret");
  return LateBackend.open({
    shown: address.shown,
    open: () => openRemote(address, { holdExpires: 60_000, log }),
    found: (remote) => found.push(remote),
    log,
  });
}

function intent(gateway: string): Intent {
  return {
    call: `${gateway}-1`,
    gateway,
    agent: "bot",
    principal: "agent:bot",
    server: "files",
    tool: "read",
    action: "files__read",
    definition: "0".repeat(64),
    arguments: "{}",
    parsed: {},
  };
}

const named = (): Set<unknown> => new Set(server.bodies("/v1/agents").map(({ name }) => name));

beforeEach(async () => {
  server = await ScriptedBackend.start();
  found = [];
});
afterEach(async () => {
  await late?.close();
  await server.stop();
});

it("refuses every call with the reason until the backend is there, and then tells it what it has to know", async () => {
  const { port, url } = server;
  await server.stop();
  late = await open(url);
  const heard: BackendEvent[] = [];
  late.subscribe((event) => {
    heard.push(event);
  });
  const ids: string[] = [];
  ids.push(await late.attach({ pid: 1, label: "wrap", address: null }, (id) => ids.push(id)));
  await late.ensureAgent("bot");
  expect(await late.agents()).toEqual([]);
  await expect(late.decide(intent(ids[0] ?? ""))).rejects.toMatchObject({
    code: "backend_unavailable",
    message: expect.stringContaining(url) as string,
  });
  await expect(late.authenticate("x")).rejects.toMatchObject({ code: "backend_unavailable" });

  server = await ScriptedBackend.start(port);
  server.killed.add("bot");
  await eventually("the backend", () => (late.absence === null ? true : undefined), 3000);
  expect(found).toHaveLength(1);
  expect(ids).toEqual([expect.stringMatching(/^late/), "gw1"]);
  expect(named()).toEqual(new Set(["bot"]));
  // The kill that was there before is heard as one.
  expect(heard).toContainEqual({ kind: "kill", agent: "bot" });
  // A call from before the backend was found was never asked about: it is refused, and not known there.
  await expect(late.decide(intent(ids[0] ?? ""))).rejects.toMatchObject({ code: "backend_unavailable" });
  expect(await late.decide(intent("gw1"))).toMatchObject({ decision: "ALLOW" });
  expect(server.bodies("/v1/decisions")).toHaveLength(1);
});

it("makes known the agent of the token, which was not known before the backend could be asked", async () => {
  const { port, url } = server;
  await server.stop();
  late = await open(url);
  await late.attach({ pid: 1, label: "wrap", address: null });
  await late.ensureAgent("default");
  server = await ScriptedBackend.start(port);
  server.principal = { ...server.principal, agent: "bot" };
  await eventually("the backend", () => (late.absence === null ? true : undefined), 3000);
  expect(named()).toEqual(new Set(["bot"]));
});

it("does not start with a backend that cannot be used", async () => {
  server.fault = ({ path }, response) => path === "/v1/whoami" && response.writeHead(401).end() !== undefined;
  await expect(open(server.url)).rejects.toMatchObject({ code: "not_permitted" });
});

it("goes on looking where the backend that came cannot be used, and says why", async () => {
  const { port, url } = server;
  await server.stop();
  late = await open(url);
  server = await ScriptedBackend.start(port);
  server.fault = ({ path }, response) => path === "/v1/whoami" && response.writeHead(401).end() !== undefined;
  await eventually(
    "the reason",
    () => (late.absence?.includes("does not know the token") ? true : undefined),
    3000,
  );
  await expect(late.decide(intent("x"))).rejects.toThrow("does not know the token");
  server.fault = () => false;
  await eventually("the backend", () => (late.absence === null ? true : undefined), 3000);
});

it("starts all the same where the backend goes away between two questions", async () => {
  let gone = true;
  server.fault = ({ path }, response) => {
    if (!gone || (path !== "/v1/gateways" && path !== "/v1/agents")) return false;
    response.writeHead(503).end();
    return true;
  };
  late = await open(server.url);
  const ids: string[] = [];
  ids.push(await late.attach({ pid: 1, label: "wrap", address: null }, (id) => ids.push(id)));
  await late.ensureAgent("bot");
  gone = false;
  await eventually("an id", () => ids[1], 3000);
  expect(await late.decide(intent(ids[1] ?? ""))).toMatchObject({ decision: "ALLOW" });
});

it("passes on what is no absence", async () => {
  late = await open(server.url);
  server.fault = ({ path }, response) => {
    if (path !== "/v1/agents") return false;
    response
      .writeHead(403, { "content-type": "application/json" })
      .end('{"detail":"No.","code":"not_permitted"}');
    return true;
  };
  await expect(late.ensureAgent("bot")).rejects.toBeInstanceOf(AegisError);
});
