/** What a server is given of the machine it runs on, and what it must never reach. */
import { existsSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerRecord } from "../../src/client/backend.js";
import {
  type HttpGateway,
  jsonLines,
  makePlace,
  type Place,
  startHttpGateway,
  wrapWay,
} from "../fixtures/gateway.js";
import { type Frame, RawStdio, textOf } from "../fixtures/raw.js";
import { everyTool, fakeServer, filesystemServer } from "../fixtures/servers.js";
import { WireSession } from "../fixtures/wire.js";

const policies = { "tester.yaml": 'agent: tester\non_change: allow\nallow: ["*"]\n' };
const merged = {
  "tester.yaml": `agent: tester\non_change: allow\nallow: ["*__*", ${everyTool("one", "two", "traps")}]\n`,
};
/** What a shell would make something of, each of which would leave a file in the working folder. */
const traps = [
  "; touch pwn1",
  "$(touch pwn2)",
  "`touch pwn3`",
  "| touch pwn4",
  "&& touch pwn5",
  "--x=$(touch pwn6)",
];
const secrets = {
  AEGIS_TOKEN: "canary-of-aegis",
  AEGIS_CANARY: "canary-of-aegis",
  CANARY_SECRET: "canary-of-the-machine",
};

function way(place: Place, command: readonly string[], options: Parameters<typeof wrapWay>[2] = {}) {
  const made = wrapWay(place, command, options);
  if (made.kind !== "stdio") throw new Error("wrap speaks stdio");
  return made;
}

describe("a server of the gateway", () => {
  const place = makePlace(merged);
  let gateway: HttpGateway;
  const environmentOf = async (key: string): Promise<Record<string, string>> => {
    const session = await WireSession.open(gateway, { path: `/${key}` });
    const answer = JSON.parse(textOf(await session.call("env"))) as Record<string, string>;
    await session.end();
    return answer;
  };

  beforeAll(async () => {
    const [command, ...args] = fakeServer();
    gateway = await startHttpGateway(
      place,
      {
        agent: "tester",
        policies: "./policies",
        servers: {
          one: { command, args, env: { OF_ONE: "canary-of-one", AEGIS_TOKEN: "handed-on" } },
          two: { command, args, env: { OF_TWO: "$$HOME `x`" } },
          traps: { command, args: [...args, "--name", traps.join(" ")] },
        },
      },
      { env: secrets },
    );
  });
  afterAll(async () => {
    await gateway?.stop();
    place.remove();
  });

  it("has the few variables it needs to run, and those of its own entry", async () => {
    const [one, two] = [await environmentOf("one"), await environmentOf("two")];
    expect(one).toMatchObject({ PATH: process.env.PATH, OF_ONE: "canary-of-one" });
    expect(two).toMatchObject({ OF_TWO: "$HOME `x`" });
    const allowed = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER"];
    expect(Object.keys(one).filter((name) => ![...allowed, "OF_ONE"].includes(name))).toEqual([]);
    expect(Object.keys(two).filter((name) => ![...allowed, "OF_TWO"].includes(name))).toEqual([]);
    for (const text of [JSON.stringify(one), JSON.stringify(two)]) {
      expect(text).not.toMatch(/canary-of-aegis|canary-of-the-machine|handed-on|AEGIS_/);
      expect(text).not.toContain(gateway.token);
      expect(text).not.toContain(place.home);
    }
  });

  it("is started with its arguments as they are written, by no shell", async () => {
    const before = readdirSync(place.work);
    const session = await WireSession.open(gateway, { path: "/traps" });
    await session.call("echo", { a: 1 });
    // The server says its name in its resources: every character of the arguments arrived.
    const resources = (await session.request("resources/list")).result?.resources as { uri: string }[];
    expect(resources[0]?.uri).toBe(`${traps.join(" ")}://text`);
    expect(readdirSync(place.work)).toEqual(before);
    await session.end();
  });
});

describe("a wrapped server", () => {
  it("has the environment it would have had without aegis, but for aegis's own", async () => {
    const place = makePlace(policies);
    const client = await RawStdio.connect(way(place, fakeServer(), { env: secrets }));
    const environment = JSON.parse(textOf(await client.call("env").answer)) as Record<string, string>;
    expect(environment).toMatchObject({ CANARY_SECRET: "canary-of-the-machine", PATH: process.env.PATH });
    expect(Object.keys(environment).filter((name) => /^aegis_/i.test(name))).toEqual([]);
    expect(JSON.stringify(environment)).not.toContain("canary-of-aegis");
    await client.close();
    place.remove();
  });

  it("is started with its arguments as they are written, by no shell", async () => {
    const place = makePlace(policies);
    const client = await RawStdio.connect(way(place, fakeServer("--name", traps.join(" "))));
    const listed = await client.request("resources/list").answer;
    expect(((listed.result?.resources ?? []) as { uri: string }[])[0]?.uri).toBe(`${traps.join(" ")}://text`);
    expect(readdirSync(place.work)).toEqual([]);
    await client.close();
    place.remove();
  });
});

describe("a server that is given AEGIS_HOME, the policies or the configuration", () => {
  const reaching: readonly (readonly [string, (place: Place) => readonly string[]])[] = [
    ["as an argument", ({ home }) => [...fakeServer(), home]],
    ["as a folder above", ({ root }) => [...fakeServer(), root]],
    ["as a file in it", ({ home }) => [...fakeServer(), join(home, "aegis.db")]],
    ["by a link", ({ work }) => [...fakeServer(), join(work, "link")]],
    ["in an option", ({ policies: folder }) => [...fakeServer(), `--root=${folder}`]],
    ["as an address", ({ home }) => [...fakeServer(), pathToFileURL(home).href]],
  ];
  it.each(reaching)("%s does not start, and says what to do", async (_, command) => {
    const place = makePlace(merged);
    mkdirSync(place.home, { recursive: true });
    symlinkSync(place.home, join(place.work, "link"));
    const [first, ...args] = command(place);
    const config = { agent: "tester", policies: "./policies", servers: { files: { command: first, args } } };
    const file = place.writeConfig(config);
    const refused = await place.cli(["gateway", "--config", file, "--http", "127.0.0.1:0"]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/The server files is given the argument .*(AEGIS_HOME|the policies)/);
    expect(refused.stderr).toMatch(/--allow-home/);
    expect(refused.stdout).toBe("");
    expect(existsSync(join(place.home, "gateway.token"))).toBe(false);
    place.remove();
  });

  it("starts with --allow-home, which is recorded, and works", async () => {
    const place = makePlace(merged);
    const [command, ...args] = filesystemServer(place.home);
    const config = { agent: "tester", policies: "./policies", servers: { files: { command, args } } };
    const gateway = await startHttpGateway(place, config, { args: ["--allow-home"] });
    const session = await WireSession.open(gateway);
    expect(textOf(await session.call("files__list_directory", { path: place.home }))).toContain(
      "gateway.token",
    );
    await gateway.stop();
    const { stdout } = await place.cli(["log", "--json"]);
    const records = jsonLines<LedgerRecord>(stdout);
    expect(records.filter(({ reason }) => reason?.includes("--allow-home"))).toMatchObject([
      { kind: "gateway", agent: "tester", server: "files" },
    ]);
    place.remove();
  });
});

describe("a root of the client", () => {
  it("that reaches AEGIS_HOME or the policies is not given to the server; another is", async () => {
    const place = makePlace(policies);
    const client = await RawStdio.connect(way(place, fakeServer()));
    const askRoots = async (uris: readonly string[]): Promise<Frame> => {
      const heard = client.frames.length;
      const { answer } = client.call("roots");
      const question = await client.frame(
        (each) => each.method === "roots/list" && client.frames.indexOf(each) >= heard,
      );
      const roots = uris.map((uri) => ({ uri }));
      client.send(JSON.stringify({ jsonrpc: "2.0", id: question.id, result: { roots } }));
      return JSON.parse(textOf(await answer)) as Frame;
    };
    const fine = pathToFileURL(place.work).href;
    expect(await askRoots([fine])).toMatchObject({ result: { roots: [{ uri: fine }] } });
    const reaching = [place.home, place.policies, place.root, join(place.home, "new")];
    for (const uri of [...reaching.map((path) => pathToFileURL(path).href), place.home]) {
      const told = await askRoots([fine, uri]);
      expect(told.result).toBeUndefined();
      expect(told.error).toMatchObject({ code: -31002 });
      expect(JSON.stringify(told)).not.toContain(place.root);
    }
    expect(await askRoots([fine])).toMatchObject({ result: { roots: [{ uri: fine }] } });
    await client.close();
    const { stdout } = await place.cli(["log", "--json"]);
    const refused = jsonLines<LedgerRecord>(stdout).filter(({ kind }) => kind === "refused");
    expect(refused).toHaveLength(5);
    expect(refused[0]).toMatchObject({ server: "fake", reason: expect.stringContaining("root") as string });
    place.remove();
  });
});
