import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { PinnedTool, Principal } from "../../src/client/backend.js";
import { connectClient, type Way } from "../fixtures/clients.js";
import { type HttpGateway, makePlace, openBeside, startHttpGateway } from "../fixtures/gateway.js";
import { type Frame, RawHttp, refusalIn, textOf } from "../fixtures/raw.js";
import { fakeServer } from "../fixtures/servers.js";

const place = makePlace({
  "tester.yaml":
    'agent: tester\non_change: block\ndefault: block\nallow: [fake__echo, fake__change_tools, "*__pay", "*__delete_file"]\nreview: [fake__held]\n',
});
const ada: Principal = { name: "os:ada", role: "admin", agent: null, groups: [], token: null };
const [command, ...args] = fakeServer("--tools", "echo,pay,delete_file,change_tools,held");
let gateway: HttpGateway;
let backend: Service;

beforeAll(async () => {
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: {
      fake: { command, args, env: { LEDGER: place.ledger } },
      twin: { command, args: [...args, "--name", "twin"] },
    },
  });
  backend = await openBeside(place);
});

afterAll(async () => {
  await gateway?.stop();
  await backend?.close();
  place.remove();
});

const way = (path = ""): Way & { kind: "http" } => ({
  kind: "http",
  url: `${gateway.url}${path}`,
  token: gateway.token,
});

async function names(client: RawHttp): Promise<string[]> {
  const { result } = await client.request("tools/list").answer;
  return ((result?.tools ?? []) as Array<{ name: string }>).map(({ name }) => name);
}

async function accept(server: string): Promise<readonly PinnedTool[]> {
  const shown = await backend.pinnedTools({ server });
  return backend.acceptTools(
    { server },
    shown.map(({ definition }) => definition),
    ada,
  );
}

const isListChanged = ({ method }: Frame): boolean => method === "notifications/tools/list_changed";

describe("tools that nobody has accepted, where policy blocks them (D1)", () => {
  it("are neither listed nor run until somebody accepts them; those that a rule names are", async () => {
    const bare = await RawHttp.connect(way("/fake"), { listen: true });
    const merged = await RawHttp.connect(way(), { listen: true });
    expect(await names(bare)).toEqual(["echo", "change_tools"]);
    expect((await names(merged)).filter((name) => name.startsWith("fake"))).toEqual([
      "fake__echo",
      "fake__change_tools",
    ]);
    expect(textOf(await bare.call("echo", { args: { n: 1 } }).answer)).toBe('{"n":1}');
    const refused = await bare.call("pay").answer;
    expect(refusalIn(refused)?.reason).toContain('"aegis tools accept fake pay"');

    const [toBare, toMerged] = [bare, merged].map((client) => client.frame(isListChanged));
    expect((await accept("fake")).map(({ tool }) => tool)).toEqual([
      "",
      "change_tools",
      "delete_file",
      "echo",
      "held",
      "pay",
    ]);
    await Promise.all([toBare, toMerged]);
    expect(await names(bare)).toEqual(["echo", "pay", "delete_file", "change_tools", "held"]);
    expect(textOf(await bare.call("pay", { args: { amount: 1, to: "x" } }).answer)).toBe("paid 1 to x");
    expect(textOf(await merged.call("fake__pay", { args: { amount: 2, to: "x" } }).answer)).toBe(
      "paid 2 to x",
    );
    await Promise.all([bare.close(), merged.close()]);
  });

  it("are not seen by clients of either SDK; of two servers that offer the same, the second is flagged (P15)", async () => {
    for (const sdk of ["v1", "v2"] as const) {
      const client = await connectClient(sdk, way("/twin"));
      expect((await client.tools()).map(({ name }) => name)).toEqual([]);
      await client.close();
    }
    const twins = (await backend.pinnedTools({ server: "twin" })).filter(({ tool }) => tool !== "");
    expect(twins).toHaveLength(5);
    for (const { flags } of twins) expect(flags.join()).toContain("a tool of the server fake");
  });
});

describe("a tool that its server redefines", () => {
  it("runs for nobody, whatever it claims, until it is accepted; back again is a change too (D2, D4)", async () => {
    await accept("fake");
    const client = await RawHttp.connect(way("/fake"));
    expect(textOf(await client.call("echo", { args: { n: 1 } }).answer)).toBe('{"n":1}');
    const set = { annotations: { readOnlyHint: true } };
    await client.call("change_tools", { args: { tool: "echo", set } }).answer;
    const changed = await client.call("echo").answer;
    expect(refusalIn(changed)).toMatchObject({ decision: "BLOCK" });
    expect(refusalIn(changed)?.reason).toContain("not what it was");
    expect(await names(client)).not.toContain("echo");

    await client.call("change_tools", { args: { tool: "echo", set: { annotations: null } } }).answer;
    expect(refusalIn(await client.call("echo").answer)).toMatchObject({ decision: "BLOCK" });
    await accept("fake");
    expect(textOf(await client.call("echo", { args: { n: 2 } }).answer)).toBe('{"n":2}');
    await client.close();
  });

  it("or takes away is not called by a client that remembers it (P22)", async () => {
    await accept("fake");
    const client = await RawHttp.connect(way("/fake"));
    expect(await names(client)).toContain("delete_file");
    await client.call("change_tools", { args: { tool: "delete_file", set: { name: "remove" } } }).answer;
    expect(await client.call("delete_file", { args: { path: "x" } }).answer).toMatchObject({
      error: { message: expect.stringContaining("Unknown tool") as string },
    });
    expect(refusalIn(await client.call("remove", { args: { path: "x" } }).answer)).toMatchObject({
      decision: "BLOCK",
    });
    await client.call("change_tools", { args: { tool: "remove", set: { name: "delete_file" } } }).answer;
    expect(textOf(await client.call("delete_file", { args: { path: "x" } }).answer)).toBe("deleted x");
    await client.close();
  });

  it.each([
    ["another description", [{ tool: "held", set: { description: "Sends it away" } }]],
    [
      "its absence for a while",
      [
        { tool: "held", set: { name: "away" } },
        { tool: "away", set: { name: "held" } },
      ],
    ],
  ])("is not run by an approval that was given before: %s (A17)", async (_, changes) => {
    // A server of its own, which offers again what it offered at first.
    const client = await RawHttp.connect(way("/fake"));
    await names(client);
    await accept("fake");
    const canary = changes.length;
    const held = client.call("held", { args: { canary } });
    const pending = async (): Promise<number | undefined> =>
      (await backend.approvals({ status: "pending" })).find((each) =>
        each.arguments.includes(`"canary":${canary}`),
      )?.id;
    await expect.poll(pending).toBeDefined();
    const id = (await pending()) ?? 0;
    for (const change of changes) {
      await client.call("change_tools", { args: change }).answer;
      await names(client);
    }
    await backend.decideApproval(id, "approved", ada, "");
    expect(refusalIn(await held.answer)).toMatchObject({ decision: "BLOCK" });
    expect(await backend.approval(id)).toMatchObject({ status: "void" });
    // Once it is accepted, the same call can be asked for, and runs.
    await accept("fake");
    const again = client.call("held", { args: { canary } });
    await expect.poll(pending).toBeDefined();
    await backend.decideApproval((await pending()) ?? 0, "approved", ada, "");
    expect(textOf(await again.answer)).toBe(`{"canary":${canary}}`);
    await client.close();
  });
});
