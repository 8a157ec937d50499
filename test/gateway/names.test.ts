/** What the merged endpoint calls things, and to whom they go; and what one bad server does to the others: nothing. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerRecord } from "../../src/client/backend.js";
import { type HttpGateway, makePlace, startHttpGateway, wrapWay } from "../fixtures/gateway.js";
import { readLedger } from "../fixtures/ledger.js";
import { openPerson, type Person } from "../fixtures/person.js";
import { type Frame, RawStdio, refusalIn, textOf } from "../fixtures/raw.js";
import { fakeServer } from "../fixtures/servers.js";
import { frame, WireSession } from "../fixtures/wire.js";

const long = `search_${"very_".repeat(10)}long`;
const odd = "búsqueda total";
const place = makePlace({
  "tester.yaml":
    // By their whole names those that another server has too, or that look like another's.
    'agent: tester\non_change: allow\nblock: ["b__search", "evil__delete_file"]\n' +
    'allow: ["*__*", "a__búsqueda total", a__search, evil__search, a__b__c, b__echo, fake__echo]\n',
});
let gateway: HttpGateway;
let person: Person;
let session: WireSession;

interface Listed {
  readonly name: string;
  readonly uri?: string;
  readonly uriTemplate?: string;
  readonly description?: string;
}

async function list(method: string, member: string, of = session): Promise<Listed[]> {
  const answer = await of.request(method);
  return answer.result?.[member] as Listed[];
}

const names = async (of = session): Promise<string[]> =>
  (await list("tools/list", "tools", of)).map(({ name }) => name);

/** The servers that executed the call with this canary. */
const ranAt = (canary: string): string[] =>
  readLedger(place.ledger)
    .executions.filter((run) => run.arguments.includes(canary))
    .map(({ server }) => server);

beforeAll(async () => {
  const server = (name: string, ...flags: string[]): object => {
    const [command, ...args] = fakeServer("--name", name, ...flags);
    return { command, args, env: { LEDGER: place.ledger } };
  };
  const script = (text: string, more: object = {}): object => ({
    command: process.execPath,
    args: ["-e", text],
    start_timeout: "600ms",
    ...more,
  });
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: {
      missing: { command: "no-such-command-anywhere", args: [] },
      quits: script("process.exit(3)"),
      silent: script("process.stdin.resume()"),
      noisy: script("setInterval(() => console.log('not a frame'), 5)"),
      liar: script(
        'process.stdin.once(\'data\', () => console.log(\'{"jsonrpc":"2.0","id":1,"result":7}\'))',
      ),
      a: server("a", "--tools", `search,b__c,${long}1,${long}2,${odd},change_tools`, "--page", "2"),
      b: server("b", "--tools", "search,echo,c"),
      // It calls itself by another's name, in the handshake and in its URIs.
      evil: server("a", "--tools", "search,delete_file"),
    },
  });
  person = await openPerson(place);
  session = await WireSession.open(gateway);
});

afterAll(async () => {
  await person?.leave();
  await gateway?.stop();
  place.remove();
});

describe("the tools of many servers", () => {
  it("carry their server's key, page by page of those behind, and are at most 48 characters long", async () => {
    const all = await names();
    expect(all).toEqual([
      "a__search",
      "a__b__c",
      expect.stringMatching(/^a__search_very_.{24}_[0-9a-f]{8}$/),
      expect.stringMatching(/^a__search_very_.{24}_[0-9a-f]{8}$/),
      `a__${odd}`,
      "a__change_tools",
      "b__search",
      "b__echo",
      "b__c",
      "evil__search",
      "evil__delete_file",
    ]);
    expect(new Set(all).size).toBe(all.length);
    expect(Math.max(...all.map(({ length }) => length))).toBeLessThanOrEqual(48);
  });

  it("go to the server of their key, under the name it knows, whatever a server calls itself", async () => {
    const all = await names();
    const shortened = all.filter((name) => /_[0-9a-f]{8}$/.test(name));
    for (const [name, server, tool] of [
      ["a__search", "a", "search"],
      ["evil__search", "a", "search"],
      ["a__b__c", "a", "b__c"],
      ["b__c", "b", "c"],
      [shortened[0] ?? "", "a", `${long}1`],
      [shortened[1] ?? "", "a", `${long}2`],
      [`a__${odd}`, "a", odd],
    ] as const) {
      const canary = `to-${name}`;
      expect(textOf(await session.call(name, { canary }))).toContain(canary);
      const run = readLedger(place.ledger).executions.find((each) => each.arguments.includes(canary));
      expect(run).toMatchObject({ server, tool });
      const decided = (await person.records()).find((each) =>
        JSON.stringify(each.arguments)?.includes(`"${canary}`),
      );
      expect(decided).toMatchObject({
        server: name.split("__")[0],
        tool,
        action: `${name.split("__")[0]}__${tool}`,
      });
    }
  });

  it("are decided by that key: what one server's tool may do says nothing of another's", async () => {
    expect(refusalIn(await session.call("b__search", { canary: "blocked-b" }))).toMatchObject({
      decision: "BLOCK",
    });
    expect(refusalIn(await session.call("evil__delete_file", { canary: "blocked-evil" }))).toMatchObject({
      decision: "BLOCK",
    });
    expect([...ranAt("blocked-b"), ...ranAt("blocked-evil")]).toEqual([]);
    expect(textOf(await session.call("a__search", { canary: "allowed-a" }))).toContain("allowed-a");
    expect(ranAt("allowed-a")).toEqual(["a"]);
  });

  const unknown = [
    "search",
    "b__absent",
    "absent__search",
    "a____search",
    "A__search",
    "__search",
    `a__${long}1`,
    "evil__a__search",
  ];
  it.each(unknown)("do not include %s: an error, and a record", async (name) => {
    const before = (await person.records()).length;
    expect((await session.call(name, { canary: "unknown" })).error).toMatchObject({ code: -32602 });
    const records = (await person.records()).slice(before).filter(({ kind }) => kind === "refused");
    expect(records).toMatchObject([{ agent: "tester", action: name }]);
    expect(ranAt("unknown")).toEqual([]);
  });

  it("are listed and decided anew once their server says that they changed", async () => {
    const stream = await session.listen();
    const set = { description: "as it is now" };
    await session.call("a__change_tools", { tool: "search", set });
    const heard = (): (string | undefined)[] => stream.frames.map(({ method }) => method);
    await expect.poll(heard).toContain("notifications/tools/list_changed");
    const search = (await list("tools/list", "tools")).find(({ name }) => name === "a__search");
    expect(search?.description).toBe("as it is now");
    // A tool of another name takes the place of the old one.
    await session.call("a__change_tools", { tool: "b__c", set: { name: "fresh" } });
    await expect.poll(() => names()).toContain("a__fresh");
    expect(await names()).not.toContain("a__b__c");
    expect(textOf(await session.call("a__fresh", { canary: "fresh" }))).toContain("fresh");
    expect((await session.call("a__b__c", {})).error).toMatchObject({ code: -32602 });
    stream.drop();
  });
});

describe("everything else of many servers", () => {
  it("prefixes prompts, and takes them and their completion to their server", async () => {
    const prompts = (await list("prompts/list", "prompts")).map(({ name }) => name);
    expect(prompts).toEqual(["a", "b", "evil"].flatMap((key) => [`${key}__plain`, `${key}__greet`]));
    const got = await session.request("prompts/get", { name: "b__greet", arguments: { who: "Ada" } });
    expect(JSON.stringify(got.result)).toContain("Hello Ada");
    expect((await session.request("prompts/get", { name: "greet" })).error).toMatchObject({ code: -32602 });
    const argument = { name: "who", value: "a" };
    const complete = (ref: object): Promise<Frame> =>
      session.request("completion/complete", { ref, argument });
    const completed = await complete({ type: "ref/prompt", name: "b__greet" });
    expect(completed.result?.completion).toMatchObject({ values: ["ada", "alan"] });
    const resource = await complete({ type: "ref/resource", uri: "b://item/{id}" });
    expect(resource.result?.completion).toMatchObject({ values: ["ada", "alan"] });
    expect((await complete({ type: "ref/prompt", name: "absent__greet" })).error).toMatchObject({
      code: -32602,
    });
  });

  it("leaves URIs as they are and takes them to whoever listed them, the first where two did", async () => {
    const uris = (await list("resources/list", "resources")).map(({ uri }) => uri);
    expect(uris).toEqual(["a://text", "a://bytes", "b://text", "b://bytes", "a://text", "a://bytes"]);
    const templates = (await list("resources/templates/list", "resourceTemplates")).map(
      (each) => each.uriTemplate,
    );
    expect(templates).toEqual(["a://item/{id}", "b://item/{id}", "a://item/{id}"]);
    const read = async (uri: string): Promise<Frame> => session.request("resources/read", { uri });
    for (const uri of ["a://text", "b://text", "a://item/7", "b://item/8"]) {
      expect((await read(uri)).result?.contents).toMatchObject([{ uri }]);
    }
    expect((await read("c://text")).error).toMatchObject({ code: -32002 });
    expect(gateway.stderr()).toMatch(/two servers offer the same resource URI/);
  });

  it("claims what some server can, and says what each says of itself", async () => {
    const answer = await fetchInitialize();
    expect(answer.result?.capabilities).toMatchObject({
      tools: { listChanged: true },
      resources: { subscribe: true },
      prompts: {},
      completions: {},
      logging: {},
    });
    expect(answer.result?.instructions).toMatch(/# a\n\nHow to use a\n\n# b\n\nHow to use b/);
  });
});

async function fetchInitialize(): Promise<Frame> {
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "x", version: "1" } };
  const response = await fetch(gateway.url, {
    method: "POST",
    headers: {
      authorization: `Bearer ${gateway.token}`,
      "content-type": "application/json",
      accept: "application/json",
    },
    body: frame("initialize", params, 1),
  });
  const answer = (await response.json()) as Frame;
  expect(answer.result?.protocolVersion).toBe("2025-06-18");
  return answer;
}

describe("one server", () => {
  it("keeps its own names at its own path, and nobody else's tools are there", async () => {
    const alone = await WireSession.open(gateway, { path: "/b" });
    expect(await names(alone)).toEqual(["search", "echo", "c"]);
    expect(textOf(await alone.call("echo", { canary: "bare" }))).toContain("bare");
    expect(ranAt("bare")).toEqual(["b"]);
    expect(refusalIn(await alone.call("search"))).toMatchObject({ decision: "BLOCK" });
    expect((await alone.call("b__echo")).error).toMatchObject({ code: -32602 });
    expect((await alone.call("a__search")).error).toMatchObject({ code: -32602 });
    await alone.end();
  });

  it("keeps its own names under wrap, long ones too", async () => {
    const way = wrapWay(place, fakeServer("--tools", `${long},echo`));
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = await RawStdio.connect(way);
    const listed = await client.request("tools/list").answer;
    expect(((listed.result?.tools ?? []) as Listed[]).map(({ name }) => name)).toEqual([long, "echo"]);
    expect(textOf(await client.call(long, { args: '{"canary":"long"}' }).answer)).toContain("long");
    await client.close();
  });
});

describe("a script that sends everything at once and closes its end", () => {
  it("is answered in full", async () => {
    const way = wrapWay(place, fakeServer());
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = RawStdio.start(way);
    const params = {
      protocolVersion: "2025-11-25",
      capabilities: {},
      clientInfo: { name: "x", version: "1" },
    };
    const hello = client.request("initialize", params);
    client.notify("notifications/initialized");
    const listed = client.request("tools/list");
    const called = client.call("echo", { args: '{"canary":"at-once"}' });
    client.child.stdin?.end();
    expect((await hello.answer).result?.serverInfo).toMatchObject({ name: "fake" });
    expect((await listed.answer).result?.tools).toBeDefined();
    expect(textOf(await called.answer)).toContain("at-once");
    expect(await client.ended).toMatchObject({ code: 0 });
  });
});

describe("servers that do not come up", () => {
  it("are left out of a start, which waits for them no longer than they are given", async () => {
    const startedAt = performance.now();
    const fresh = await WireSession.open(gateway);
    expect(performance.now() - startedAt).toBeLessThan(5000);
    const listed = await names(fresh);
    expect(new Set(listed.map((name) => name.split("__")[0]))).toEqual(new Set(["a", "b", "evil"]));
    expect(textOf(await fresh.call("b__echo", { canary: "still-works" }))).toContain("still-works");
    await fresh.end();
  });

  it.each(["missing", "quits", "silent", "noisy", "liar"])("answer for themselves: %s", async (key) => {
    const before = (await person.records()).length;
    const answer = await session.call(`${key}__anything`, { canary: `at-${key}` });
    expect(answer.error?.code).toBe(-31001);
    expect(answer.error?.message).toContain(key);
    // Never decided, since nobody knows the tool; but nothing that was asked goes unrecorded.
    const records = async (): Promise<LedgerRecord[]> =>
      (await person.records()).slice(before).filter(({ action }) => action === `${key}__anything`);
    expect(await records()).toMatchObject([{ kind: "refused", agent: "tester" }]);
    expect(textOf(await session.call("b__echo", { canary: `beside-${key}` }))).toContain(`beside-${key}`);
  });

  it("do not keep the good ones' lists waiting, asked again and again", async () => {
    for (let round = 0; round < 3; round++) {
      const startedAt = performance.now();
      expect(await names()).toContain("b__echo");
      expect(performance.now() - startedAt).toBeLessThan(1000);
    }
  });
});
