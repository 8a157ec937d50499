/** Servers that die, hang, forget and come back: what the caller is told, and that nothing runs twice. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpGateway, makePlace, startHttpGateway, wrapWay } from "../fixtures/gateway.js";
import { checkLedger, type Execution, readLedger } from "../fixtures/ledger.js";
import { eventually, openPerson, type Person } from "../fixtures/person.js";
import { endPid, isAlive } from "../fixtures/process.js";
import { type Frame, RawHttp, RawStdio, refusalIn, textOf } from "../fixtures/raw.js";
import { everyTool, fakeServer, type HttpFake, startFakeHttp } from "../fixtures/servers.js";

const place = makePlace({
  "all.yaml": `agent: "*"\non_change: allow\nallow: [${everyTool("fake", "hasty", "dying", "remote", "forgetful", "resuming")}]\n`,
});
const [command, ...args] = fakeServer();
const witness = { LEDGER: place.ledger };
const starts = join(place.root, "starts");
const dying = `require("fs").appendFileSync(${JSON.stringify(starts)}, Date.now() + "\\n"); process.exit(3)`;

let gateway: HttpGateway;
let person: Person;
let remote: HttpFake;
let forgetful: HttpFake;
let resuming: Server;
let canaries = 0;
const fresh = (): string => `restart-canary-${canaries++}-`;
const runs = (canary: string): Execution[] =>
  readLedger(place.ledger).executions.filter((run) => run.arguments.includes(canary));
const ran = (canary: string): Promise<Execution> => eventually(`a run of ${canary}`, () => runs(canary)[0]);
const connect = (key: string, options = { listen: true }): Promise<RawHttp> =>
  RawHttp.connect(
    { kind: "http", url: key === "" ? gateway.url : `${gateway.url}/${key}`, token: gateway.token },
    options,
  );
const works = (client: RawHttp | RawStdio, name = "echo"): Promise<Frame> =>
  eventually(
    `${name} that works`,
    async () => {
      const frame = await client.call(name, { args: { canary: fresh() } }).answer;
      return frame.error === undefined && refusalIn(frame) === undefined ? frame : undefined;
    },
    5000,
  );
const isUnknown = (frame: Frame): void => {
  expect(frame.error).toMatchObject({ data: { outcome: "unknown" } });
  expect(frame.error?.message).toMatch(/outcome of this call is unknown.*not repeated/);
};

/**
 * A server of 2025-11-25 that closes the stream of every call early, and answers on the GET that comes back with the id
 * of the last event.
 */
function startResuming(): Promise<Server> {
  const answers = new Map<string, string>();
  let resumed = 0;
  const server = createServer((request, response) => {
    response.setHeader("mcp-session-id", "s");
    if (request.method === "GET") {
      const from = String(request.headers["last-event-id"] ?? "");
      const answer = answers.get(from);
      if (answer === undefined) return void response.writeHead(405).end();
      answers.delete(from);
      resumed++;
      return void response.writeHead(200, { "content-type": "text/event-stream" }).end(`data: ${answer}\n\n`);
    }
    let body = "";
    request.on("data", (chunk: Buffer) => {
      body += chunk.toString();
    });
    request.on("end", () => {
      const { id, method } = JSON.parse(body || "{}") as { id?: number | string; method?: string };
      if (id === undefined) return void response.writeHead(202).end();
      const results: Record<string, object> = {
        initialize: {
          protocolVersion: "2025-11-25",
          capabilities: { tools: {} },
          serverInfo: { name: "r", version: "1" },
        },
        "tools/list": { tools: [{ name: "echo", inputSchema: { type: "object" } }] },
        "tools/call": { content: [{ type: "text", text: `resumed ${resumed}` }] },
      };
      const answer = JSON.stringify({ jsonrpc: "2.0", id, result: results[method ?? ""] });
      if (method !== "tools/call") {
        return void response.writeHead(200, { "content-type": "application/json" }).end(answer);
      }
      answers.set(`event-${String(id)}`, answer);
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(`id: event-${String(id)}\nretry: 20\ndata: \n\n`);
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

beforeAll(async () => {
  [remote, forgetful, resuming] = await Promise.all([
    startFakeHttp(["--name", "remote"], witness),
    startFakeHttp(["--name", "forgetful", "--forget-after", "6"], witness),
    startResuming(),
  ]);
  const stdio = (...more: string[]): object => ({ command, args: [...args, ...more], env: witness });
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: {
      fake: stdio(),
      hasty: { ...stdio("--name", "hasty"), timeout: "400ms" },
      dying: { command, args: ["-e", dying] },
      remote: { url: remote.url },
      forgetful: { url: forgetful.url },
      resuming: { url: `http://127.0.0.1:${(resuming.address() as AddressInfo).port}/mcp` },
    },
  });
  person = await openPerson(place);
});
afterAll(async () => {
  await person?.leave();
  await gateway?.stop();
  await Promise.all([remote?.stop(), forgetful?.stop()]);
  resuming?.close();
  place.remove();
});

describe("a stdio server that ends in the middle of a call", () => {
  it("leaves an outcome that is unknown, runs nothing again, and works again", async () => {
    const client = await connect("fake");
    const canary = fresh();
    const bystander = fresh();
    const other = client.call("slow", { args: { ms: 20_000, canary: bystander } });
    await ran(bystander);
    isUnknown(await client.call("crash", { args: { canary } }).answer);
    isUnknown(await other.answer);
    expect(await person.outcome(canary)).toMatchObject({ outcome: "unknown" });
    await works(client);
    expect(runs(canary)).toHaveLength(1);
    expect(runs(bystander)).toHaveLength(1);
    await client.close();
  });

  it("by SIGKILL is no different; the next process is told what the client had set", async () => {
    const client = await connect("fake");
    await client.request("logging/setLevel", { level: "error" }).answer;
    await client.request("resources/subscribe", { uri: "fake://text" }).answer;
    const heard = (method: string): number => client.frames.filter((frame) => frame.method === method).length;
    await eventually("the first update", () => heard("notifications/resources/updated") || undefined);
    const canary = fresh();
    const { answer } = client.call("hang", { args: { canary } });
    process.kill((await ran(canary)).pid, "SIGKILL");
    isUnknown(await answer);
    for (const list of ["tools", "resources", "prompts"]) {
      await client.frame(({ method }) => method === `notifications/${list}/list_changed`);
    }
    await works(client);
    // Each subscription is answered with an update: the second one is that of the new process.
    await eventually("the second update", () =>
      heard("notifications/resources/updated") === 2 ? true : undefined,
    );
    await client.call("log", { args: { level: "info", text: "too quiet", canary: fresh() } }).answer;
    await client.call("log", { args: { level: "error", text: "loud", canary: fresh() } }).answer;
    const said = await client.frame(({ method }) => method === "notifications/message");
    expect(said.params).toMatchObject({ data: "loud" });
    expect(heard("notifications/message")).toBe(1);
    await client.close();
  });

  it("cannot answer for the process that took its place", async () => {
    const client = await connect("fake");
    const say = '{"jsonrpc":"2.0","id":4711,"result":{"content":[{"type":"text","text":"from the grave"}]}}';
    const forked = await client.call("fork", {
      args: { detached: true, say, after: 700, ms: 5000, canary: fresh() },
    }).answer;
    const grandchild = Number(textOf(forked));
    try {
      isUnknown(await client.call("crash", { args: { canary: fresh() } }).answer);
      await works(client);
      // It is in a group of its own: the end of its parent left it running.
      expect(isAlive(grandchild)).toBe(true);
      const { answer } = client.call("slow", { id: 4711, args: { ms: 1000, canary: fresh() } });
      expect(textOf(await answer)).toBe("at last");
      expect(JSON.stringify(client.frames)).not.toContain("from the grave");
    } finally {
      endPid(grandchild);
    }
    await client.close();
  });

  it("takes its grandchildren along", async () => {
    const client = await connect("fake");
    const grandchild = Number(textOf(await client.call("fork", { args: { canary: fresh() } }).answer));
    expect(isAlive(grandchild)).toBe(true);
    isUnknown(await client.call("crash", { args: { canary: fresh() } }).answer);
    await eventually("its end", () => (isAlive(grandchild) ? undefined : true), 3000);
    await works(client);
    await client.close();
  });
});

describe("a server that ends at every start", () => {
  it("is started less and less often, and takes nothing from the others", async () => {
    const client = await connect("");
    const began = performance.now();
    await works(client, "fake__echo");
    const refused = await client.call("dying__echo", { args: { canary: fresh() } }).answer;
    expect(refused.error?.message).toMatch(/dying/);
    for (let call = 0; call < 20; call++) await works(client, "fake__echo");
    await eventually("some starts", () => (startTimes().length > 3 ? true : undefined));
    // 100 ms, 200, 400, 800, …: whoever asks does not make it start more often.
    const calls = Array.from(
      { length: 20 },
      () => client.call("dying__echo", { args: { canary: fresh() } }).answer,
    );
    expect((await Promise.all(calls)).every(({ error }) => error !== undefined)).toBe(true);
    const most = 2 + Math.log2((performance.now() - began) / 100 + 1);
    expect(startTimes().length).toBeLessThanOrEqual(Math.ceil(most) + 1);
    await client.close();
  });

  const startTimes = (): string[] => readFileSync(starts, "utf8").trim().split("\n");
});

describe("a call that takes longer than the server's timeout", () => {
  it("ends with an unknown outcome and is cancelled at the server", async () => {
    const client = await connect("hasty");
    const canary = fresh();
    const frame = await client.call("slow", { args: { ms: 900, stubborn: true, canary } }).answer;
    isUnknown(frame);
    expect(frame.error?.message).toMatch(/no answer within 0\.4 s/);
    const run = await ran(canary);
    const saw = (what: "cancelled" | "finished"): true | undefined =>
      readLedger(place.ledger).sightings.some((each) => each[what] === run.call && each.pid === run.pid) ||
      undefined;
    await eventually("its cancellation", () => saw("cancelled"));
    await eventually("its late end", () => saw("finished"));
    await client.request("ping").answer;
    expect(client.answers(frame.id ?? 0)).toEqual([frame]);
    expect(await person.outcome(canary)).toMatchObject({ outcome: "unknown" });
    expect(runs(canary)).toHaveLength(1);
    await client.close();
  });

  it("lives on where it reports progress", async () => {
    const client = await connect("hasty");
    const canary = fresh();
    const call = { args: { steps: 5, ms: 200, canary }, meta: '{"progressToken":1}' };
    expect(textOf(await client.call("progress", call).answer)).toBe("5 steps");
    await client.close();
  });
});

describe("a server behind HTTP", () => {
  it("whose connection breaks in the middle of a call leaves an unknown outcome and one execution", async () => {
    const client = await connect("remote");
    for (const kind of ["reset", "empty", "html", "half", "cut", "status"]) {
      const canary = fresh();
      isUnknown(await client.call("http_fault", { args: { kind, canary } }).answer);
      await works(client);
      expect(runs(canary)).toHaveLength(1);
      expect(await person.outcome(canary)).toMatchObject({ outcome: "unknown" });
    }
    await client.close();
  });

  it("that cannot be reached is said not to have run the call; back again, it works within 5 s", async () => {
    const client = await connect("remote");
    await works(client);
    const port = new URL(remote.url).port;
    const pid = remote.child.pid ?? 0;
    remote.child.kill("SIGKILL");
    await eventually("its end", () => (isAlive(pid) ? undefined : true));
    // The end of its connection may not have reached the gateway yet: a call written on that one is said to be unknown.
    const { canary, error } = await eventually("a call that is not sent", async () => {
      const tried = { canary: fresh(), error: undefined as Frame["error"] };
      tried.error = (await client.call("echo", { args: { canary: tried.canary } }).answer).error;
      return tried.error?.message.includes("was not run") ? tried : undefined;
    });
    expect(error).toMatchObject({ data: { outcome: "not_forwarded" } });
    expect(await person.outcome(canary)).toMatchObject({ outcome: "not_forwarded" });
    remote = await startFakeHttp(["--name", "remote", "--http", port], witness);
    await works(client);
    expect(runs(canary)).toEqual([]);
    await client.close();
  });

  it("that forgot the session is given a new one", async () => {
    const client = await connect("forgetful", { listen: false });
    const answers: Frame[] = [];
    for (let call = 0; call < 10; call++) {
      const canary = fresh();
      answers.push(await client.call("echo", { args: { canary } }).answer);
      expect(runs(canary).length).toBeLessThanOrEqual(1);
    }
    const failed = answers.filter(({ error }) => error !== undefined);
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.length).toBeLessThan(5);
    await works(client);
    await client.close();
  });

  it("that closes a stream early is asked for the rest by the id of its last event", async () => {
    const client = await connect("resuming", { listen: false });
    const first = await client.call("echo", { args: { canary: fresh() } }).answer;
    const second = await client.call("echo", { args: { canary: fresh() } }).answer;
    expect([textOf(first), textOf(second)]).toEqual(["resumed 0", "resumed 1"]);
    await client.close();
  });
});

describe("aegis wrap", () => {
  it.each([0, 7])("exits with %i where the server does before it was initialized", async (code) => {
    const way = wrapWay(place, [process.execPath, "-e", `process.exit(${code})`]);
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = RawStdio.start(way);
    expect(await client.ended).toEqual({ code, signal: null });
    expect(client.noise).toEqual([]);
  });

  it("says what could not be started", async () => {
    const way = wrapWay(place, ["/nonexistent/server"]);
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = RawStdio.start(way);
    expect((await client.ended).code).toBe(1);
    expect(client.stderr()).toMatch(/nonexistent/);
    expect(client.frames).toEqual([]);
  });

  it("outlives a crash of its server", async () => {
    const way = wrapWay(place, fakeServer());
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = await RawStdio.connect(way);
    isUnknown(await client.call("crash", { args: { canary: fresh() } }).answer);
    await works(client);
    await client.close();
    expect(await client.ended).toEqual({ code: 0, signal: null });
  });
});

describe("behind all of it", () => {
  it("each execution has its ALLOW, and the ledger verifies", async () => {
    const { executions } = readLedger(place.ledger);
    expect(executions.length).toBeGreaterThan(40);
    expect(checkLedger(executions, await person.records())).toEqual([]);
    expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
  });
});
