/** Lists that two parsers read differently: what a client's model could read is what was pinned, or nothing (D1, D2). */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Service } from "../../src/backend/service.js";
import { type HttpGateway, makePlace, openBeside, startHttpGateway } from "../fixtures/gateway.js";
import { type Frame, RawHttp, textOf } from "../fixtures/raw.js";

const tool = (name: string, description = "good"): string =>
  `{"name":"${name}","description":"${description}","inputSchema":{"type":"object"}}`;
const good = tool("good");
const evil = tool("good", "evil");

/** By server: the members of its answers to `tools/list`, and to `prompts/list`, as they stand on the wire. */
const servers: Record<string, readonly [tools: string, prompts?: string]> = {
  lists: [`"result":{"tools":[${good}],"tools":[${evil}]}`],
  results: [`"result":{"tools":[${good}]},"result":{"tools":[${evil}]}`],
  folded: [`"result":{"tools":[${good}],"Tool\\u017f":[${evil}]}`],
  cursors: [`"result":{"tools":[${good}],"nextCursor":"1","nextCursor":null}`],
  object: [`"result":{"tools":{"0":${evil}}}`],
  elements: [
    `"result":{"tools":[{"name":"good","name":"other__good"},{"name":"cased","Name":"other__good"},` +
      `{"name":"said","description":"good","description":"evil"},` +
      `{"name":"deep","inputSchema":{"properties":{"p":{"title":"good","title":"evil"}}}},${tool("fine")}]}`,
  ],
  many: [`"result":{"tools":[${Array.from({ length: 5001 }, (_, n) => tool(`t${n}`)).join(",")}]}`],
  prompts: [
    '"result":{"tools":[]}',
    '"result":{"prompts":[{"name":"one","name":"other__good"},null,{"name":"fine"}]}',
  ],
  prompted: ['"result":{"tools":[]}', '"result":{"prompts":[{"name":"one"}],"prompts":[{"name":"two"}]}'],
  other: [`"result":{"tools":[${good}]}`, '"result":{"prompts":[{"name":"good"}]}'],
};

/** One that says of itself, beside its instructions, what other parsers take for them. */
const shaking = {
  doubled: '"instructions":"good","instructions":"evil"',
  cased: '"instructions":"good","Instructions":"evil"',
};

const script = (
  tools: string,
  prompts = '"result":{"prompts":[]}',
  also = '"instructions":"good"',
): string => `
const answers = { "tools/list": ${JSON.stringify(tools)}, "prompts/list": ${JSON.stringify(prompts)} };
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) return;
  const hello = { protocolVersion: "2025-11-25", capabilities: { tools: {}, prompts: {} }, serverInfo: { name: "s", version: "1" } };
  const ran = { content: [{ type: "text", text: "ran " + (params && params.name) }] };
  const shaken = JSON.stringify(hello).replace("{", "{" + ${JSON.stringify(also)} + ",");
  const said = answers[method] || '"result":' + (method === "initialize" ? shaken : JSON.stringify(ran));
  console.log('{"jsonrpc":"2.0","id":' + JSON.stringify(id) + "," + said + "}");
});`;

const place = makePlace({
  "tester.yaml": 'agent: tester\ndefault: block\nallow: ["*__*", "*", other__good]\non_change: allow\n',
});
const written = (key: string, text: string): object => {
  const file = join(place.work, `${key}.cjs`);
  writeFileSync(file, text);
  return { command: process.execPath, args: [file] };
};
let gateway: HttpGateway;
let backend: Service;

beforeAll(async () => {
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: {
      ...Object.fromEntries(
        Object.entries(servers).map(([key, said]) => [key, written(key, script(...said))]),
      ),
      ...Object.fromEntries(
        Object.entries(shaking).map(([key, also]) => [
          key,
          written(key, script(`"result":{"tools":[${good}]}`, undefined, also)),
        ]),
      ),
    },
  });
  backend = await openBeside(place);
});

afterAll(async () => {
  await gateway?.stop();
  await backend?.close();
  place.remove();
});

const connect = (path = ""): Promise<RawHttp> =>
  RawHttp.connect({ kind: "http", url: `${gateway.url}${path}`, token: gateway.token });

const namesIn = ({ result }: Frame, member = "tools"): string[] =>
  ((result?.[member] ?? []) as Array<{ name: string }>).map(({ name }) => name);

const pinned = async (server: string): Promise<string[]> =>
  (await backend.pinnedTools({ server })).map(({ tool: name }) => name).filter((name) => name !== "");

describe("a list of tools that can be read in two ways", () => {
  it.each(["lists", "results", "folded", "cursors", "object"])(
    "is an error to a client of its server, and none of it is pinned or run: %s",
    async (server) => {
      const client = await connect(`/${server}`);
      const listed = await client.request("tools/list").answer;
      expect(listed.error).toMatchObject({ code: -31001 });
      expect(listed.error?.message).toContain(`The server ${server}`);
      expect(JSON.stringify(client.frames)).not.toContain("evil");
      expect((await client.call("good").answer).error).toMatchObject({ code: -31001 });
      expect(await pinned(server)).toEqual([]);
      await client.close();
    },
  );

  it("leaves out the elements of which that is so, and no others", async () => {
    const client = await connect("/elements");
    expect(namesIn(await client.request("tools/list").answer)).toEqual(["fine"]);
    expect(JSON.stringify(client.frames)).not.toMatch(/evil|other__good/);
    expect(textOf(await client.call("fine").answer)).toBe("ran fine");
    for (const name of ["good", "other__good", "cased", "said", "deep"])
      expect((await client.call(name).answer).error).toMatchObject({ code: -32602 });
    expect(await pinned("elements")).toEqual(["fine"]);
    await client.close();
  });

  it("takes nothing of it into the list of many servers, and nothing under the name of another's", async () => {
    const client = await connect();
    const listed = await client.request("tools/list").answer;
    const all = namesIn(listed);
    expect(all.filter((name) => !name.startsWith("many__"))).toEqual([
      "elements__fine",
      "other__good",
      "doubled__good",
      "cased__good",
    ]);
    expect(JSON.stringify(listed)).not.toContain("evil");
    expect(textOf(await client.call("other__good").answer)).toBe("ran good");
    const prompts = await client.request("prompts/list").answer;
    expect(namesIn(prompts, "prompts")).toEqual(["prompts__fine", "other__good"]);
    expect(gateway.stderr()).toMatch(/"tools\\*" stands twice/);
    await client.close();
  });
});

describe("instructions that can be read in two ways", () => {
  it.each(Object.keys(shaking))("do not reach a client: %s", async (server) => {
    await expect(connect(`/${server}`)).rejects.toThrow('"instructions"');
  });

  it("are no others than those that were pinned where they are plain", async () => {
    const client = await connect("/other");
    expect(client.frames[0]?.result).toMatchObject({ instructions: "good" });
    await client.close();
  });
});

describe("a list of more tools than can be pinned", () => {
  it.each([
    ["its own", "/many", ""],
    ["the merged", "", "many__"],
  ])("is shown up to what is pinned: %s endpoint", async (_, path, prefix) => {
    const client = await connect(path);
    const listed = namesIn(await client.request("tools/list").answer).filter((name) =>
      name.startsWith(`${prefix}t`),
    );
    expect(listed).toHaveLength(5000);
    expect(listed.at(-1)).toBe(`${prefix}t4999`);
    expect(await pinned("many")).toHaveLength(5000);
    expect((await client.call(`${prefix}t5000`).answer).error).toMatchObject({ code: -32602 });
    await client.close();
  });
});
