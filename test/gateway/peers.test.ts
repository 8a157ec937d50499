/** Real clients and real servers through the gateway: what each server offers passes, in both directions. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerRecord } from "../../src/client/backend.js";
import { answers, connectClient, type McpClient, type Sdk, type Way } from "../fixtures/clients.js";
import { type HttpGateway, jsonLines, makePlace, startHttpGateway, wrapWay } from "../fixtures/gateway.js";
import { checkLedger, type Execution, readLedger } from "../fixtures/ledger.js";
import {
  everyTool,
  everythingServer,
  fakeServer,
  filesystemServer,
  type HttpFake,
  startFakeHttp,
} from "../fixtures/servers.js";

/** Three of the servers have the same tools: a wildcard speaks of none of those. */
const place = makePlace({
  "tester.yaml": `agent: tester\non_change: allow\nallow: ["*__*", ${everyTool("fake", "remote", "stream")}]\n`,
});
const witness = { LEDGER: place.ledger };
const note = join(place.work, "note.txt");
let gateway: HttpGateway;
let remotes: HttpFake[] = [];

/** What is governed over stdio, by its key in the configuration. */
const commands = new Map([
  ["everything", everythingServer()],
  ["files", filesystemServer(place.work)],
  ["fake", fakeServer("--name", "fake")],
]);
/** Streamable HTTP servers: JSON answers, and streams with what a call causes on the GET stream. */
const httpServers = new Map([
  ["remote", []],
  ["stream", ["--sse", "--via-get"]],
]);

interface Front {
  way(key: string): Way;
  /** What the client calls a tool or prompt of that server. */
  exposed(key: string, name: string): string;
}

const wrap: Front = {
  way: (key) => wrapWay(place, commands.get(key) ?? [], { server: key }),
  exposed: (_, name) => name,
};
const one: Front = {
  way: (key) => ({ kind: "http", url: `${gateway.url}/${key}`, token: gateway.token }),
  exposed: (_, name) => name,
};
const merged: Front = {
  way: () => ({ kind: "http", url: gateway.url, token: gateway.token }),
  exposed: (key, name) => `${key}__${name}`,
};
const fronts = new Map([
  ["wrap", wrap],
  ["/mcp/KEY", one],
  ["/mcp", merged],
]);

let canaries = 0;

/** A client's view of one server, in that server's own names. */
class Peer {
  constructor(
    readonly client: McpClient,
    readonly key: string,
    readonly name: (own: string) => string,
  ) {}

  /** The text of a tool's answer. Calls of the fake server carry a canary each, by which the ledger is checked. */
  async said(tool: string, args: Record<string, unknown> = {}): Promise<string> {
    const canary =
      this.key === "everything" || this.key === "files" ? {} : { canary: `canary-${canaries++}` };
    const result = await this.client.call(this.name(tool), { ...args, ...canary });
    return (result.content ?? []).map(({ text }) => text ?? "").join("\n");
  }
}

type Behaviour = readonly [behaviour: string, proof: (peer: Peer) => Promise<void>];

const ofEverything: readonly Behaviour[] = [
  [
    "lists and calls tools",
    async (peer) => {
      const names = (await peer.client.tools()).map(({ name }) => name);
      expect(names).toContain(peer.name("get-sum"));
      expect(await peer.said("get-sum", { a: 2, b: 3 })).toMatch(/\b5\b/);
      const weather = await peer.client.call(peer.name("get-structured-content"), { location: "Chicago" });
      expect(weather.structuredContent).toMatchObject({ temperature: expect.any(Number) as number });
    },
  ],
  [
    "lists and reads resources",
    async ({ client }) => {
      const uri = (await client.resources()).find((each) => each.startsWith("demo:")) ?? "";
      expect(await client.read(uri)).toMatch(/Everything Server/);
      expect(await client.templates()).toContain("demo://resource/dynamic/text/{resourceId}");
      expect(await client.read("demo://resource/dynamic/text/7")).toMatch(/Resource 7/);
    },
  ],
  [
    "lists, gets and completes prompts",
    async ({ client, name }) => {
      expect(await client.prompts()).toContain(name("args-prompt"));
      expect(await client.prompt(name("args-prompt"), { city: "Paris" })).toMatch(/Paris/);
      expect(await client.complete(name("completable-prompt"), "department", "E")).toEqual(["Engineering"]);
    },
  ],
  [
    "reports progress",
    async ({ client, name }) => {
      const steps: number[] = [];
      const onProgress = ({ progress }: { progress: number }): void => void steps.push(progress);
      await client.call(name("trigger-long-running-operation"), { duration: 0.2, steps: 4 }, { onProgress });
      // The server sends the last one together with its answer, and the SDKs may drop it.
      expect(steps.slice(0, 3)).toEqual([1, 2, 3]);
    },
  ],
  [
    "logs",
    async (peer) => {
      await peer.client.setLogLevel("debug");
      await peer.said("toggle-simulated-logging");
      expect(await peer.client.hear("notifications/message")).toBeDefined();
      await peer.said("toggle-simulated-logging");
    },
  ],
  [
    "asks the client for a sample, an answer and its roots",
    async (peer) => {
      expect(await peer.said("trigger-sampling-request", { prompt: "Hi", maxTokens: 5 })).toMatch(/a-model/);
      expect(await peer.said("trigger-elicitation-request")).toMatch(/"colour": "blue"/);
      expect(await peer.said("get-roots-list")).toContain(answers.roots.roots[0].uri);
    },
  ],
];

const ofFiles: readonly Behaviour[] = [
  [
    "reads and writes",
    async (peer) => {
      expect((await peer.client.tools()).map(({ name }) => name)).toContain(peer.name("read_text_file"));
      expect(await peer.said("read_text_file", { path: note })).toContain("as it was");
      const path = join(place.work, "written.txt");
      await peer.said("write_file", { path, content: "zwölf\n" });
      expect(await peer.said("read_text_file", { path })).toContain("zwölf\n");
    },
  ],
  [
    "says what is wrong in the server's words",
    async (peer) => {
      const result = await peer.client.call(peer.name("read_text_file"), { path: "/etc/hostname" });
      expect(result.isError).toBe(true);
      expect(result.content?.[0]?.text).toMatch(/access denied/i);
    },
  ],
];

const ofFake: readonly Behaviour[] = [
  [
    "lists, calls and fails in the server's words",
    async (peer) => {
      const names = (await peer.client.tools()).map(({ name }) => name);
      expect(names).toContain(peer.name("delete_file"));
      expect(JSON.parse(await peer.said("echo", { text: "zwölf\u2028 \u{1f600}" }))).toMatchObject({
        text: "zwölf\u2028 \u{1f600}",
      });
      expect(await peer.said("blob", { bytes: 300_000 })).toHaveLength(300_000);
      expect(await peer.said("tool_error")).toBe("it did not work");
      await expect(peer.said("error", { code: 77, data: { deep: [1] } })).rejects.toMatchObject({
        code: 77,
        data: { deep: [1] },
      });
    },
  ],
  [
    "serves resources, prompts and completion",
    async ({ client, key, name }) => {
      expect(await client.resources()).toContain(`${key}://text`);
      expect(await client.read(`${key}://text`)).toBe("a few words");
      expect(await client.templates()).toContain(`${key}://item/{id}`);
      expect(await client.read(`${key}://item/7`)).toBe('{"id":"7"}');
      expect(await client.prompts()).toContain(name("greet"));
      expect(await client.prompt(name("greet"), { who: "Ada" })).toBe("Hello Ada");
      expect(await client.complete(name("greet"), "who", "a")).toEqual(["ada", "alan"]);
      await client.ping();
    },
  ],
  [
    "tells of a resource that was subscribed to",
    async ({ client, key }) => {
      await client.subscribe(`${key}://text`);
      await client.hear("notifications/resources/updated", { uri: `${key}://text` });
    },
  ],
  [
    "reports progress in order",
    async ({ client, name }) => {
      const steps: unknown[] = [];
      const args = { steps: 4, ms: 20, canary: `canary-${canaries++}` };
      await client.call(name("progress"), args, { onProgress: (step) => steps.push(step) });
      expect(steps).toEqual(
        [1, 2, 3, 4].map((progress) => ({ progress, total: 4, message: `step ${progress}` })),
      );
    },
  ],
  [
    "logs from the level that was asked for",
    async (peer) => {
      await peer.client.setLogLevel("error");
      await peer.said("log", { level: "info", text: "too quiet" });
      await peer.said("log", { level: "error", text: "loud enough" });
      await peer.client.hear("notifications/message", { level: "error", data: "loud enough" });
      // Whatever the server logged before had arrived by now.
      await expect(peer.client.hear("notifications/message", { data: "too quiet" }, 0)).rejects.toThrow();
    },
  ],
  [
    "asks the client for a sample, an answer and its roots",
    async (peer) => {
      expect(JSON.parse(await peer.said("sample"))).toMatchObject({ result: answers.sampling });
      expect(JSON.parse(await peer.said("ask_client"))).toMatchObject({ result: answers.elicitation });
      expect(JSON.parse(await peer.said("roots"))).toMatchObject({ result: answers.roots });
    },
  ],
  [
    "tells that its tools changed, and lists them as they are now",
    async (peer) => {
      const description = `changed at ${performance.now()}`;
      await peer.said("change_tools", { tool: "pay", set: { description } });
      await peer.client.hear("notifications/tools/list_changed");
      const pay = (await peer.client.tools()).find(({ name }) => name === peer.name("pay"));
      expect(pay?.description).toBe(description);
    },
  ],
  [
    "cancels a call at the server",
    async ({ client, name }) => {
      const canary = `canary-${canaries++}`;
      const abort = new AbortController();
      const slow = client.call(name("slow"), { ms: 8000, canary }, { signal: abort.signal });
      const refused = expect(slow).rejects.toThrow();
      const running = (): Execution | undefined =>
        readLedger(place.ledger).executions.find((run) => run.arguments.includes(`"${canary}"`));
      await expect.poll(running, { timeout: 3000 }).toBeDefined();
      abort.abort("no longer wanted");
      await refused;
      const isCancelled = (run: Execution | undefined): boolean =>
        readLedger(place.ledger).sightings.some(
          ({ cancelled, pid, at }) => cancelled === run?.call && pid === run?.pid && at >= (run?.at ?? 0),
        );
      await expect.poll(() => isCancelled(running()), { timeout: 3000 }).toBe(true);
    },
  ],
];

const behaviours = new Map([
  ["everything", ofEverything],
  ["files", ofFiles],
  ["fake", ofFake],
  ["remote", ofFake],
  ["stream", ofFake],
]);

const peers = [...fronts.keys()].flatMap((front) =>
  [...behaviours.keys()]
    .filter((key) => front !== "wrap" || commands.has(key))
    .flatMap((key) => (["v1", "v2"] as const).map((sdk): [Sdk, string, string] => [sdk, key, front])),
);

beforeAll(async () => {
  writeFileSync(note, "as it was\n");
  remotes = await Promise.all(
    [...httpServers].map(([key, flags]) => startFakeHttp(["--name", key, ...flags], witness)),
  );
  const stdio = [...commands].map(([key, [command, ...args]]): [string, object] => [
    key,
    { command, args, env: witness },
  ]);
  const http = [...httpServers.keys()].map((key, index): [string, object] => [
    key,
    { url: remotes[index]?.url },
  ]);
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: Object.fromEntries([...stdio, ...http]),
  });
});

afterAll(async () => {
  await Promise.all([gateway?.stop(), ...remotes.map((remote) => remote.stop())]);
  place.remove();
});

describe.each(peers)("the %s SDK and the server %s through %s", (sdk, key, through) => {
  let peer: Peer;

  beforeAll(async () => {
    const front = fronts.get(through);
    if (!front) throw new Error(through);
    const client = await connectClient(sdk, front.way(key));
    peer = new Peer(client, key, (own) => front.exposed(key, own));
  });
  afterAll(() => peer?.client.close());

  it.each(behaviours.get(key) ?? [])("%s", async (_, proof) => proof(peer));
});

describe("the ledger behind all of it", () => {
  it("holds an ALLOW, made before, for each call that reached a server, and verifies", async () => {
    const { executions } = readLedger(place.ledger);
    expect(executions.length).toBeGreaterThan(0);
    const log = await place.cli(["log", "--json", "--limit", "999999"]);
    expect(checkLedger(executions, jsonLines<LedgerRecord>(log.stdout))).toEqual([]);
    expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
  });
});
