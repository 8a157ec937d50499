/** Approvals that are asked for in the client itself, by a form: what its answer does, and what it does not. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Client as V2Client, StreamableHTTPClientTransport as V2Http } from "@modelcontextprotocol/client";
import { StdioClientTransport as V2Stdio } from "@modelcontextprotocol/client/stdio";
import { Client as V1Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as V1Stdio } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as V1Http } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Way } from "../fixtures/clients.js";
import { type HttpGateway, makePlace, startHttpGateway, wrapWay } from "../fixtures/gateway.js";
import { type Execution, readLedger } from "../fixtures/ledger.js";
import { openPerson, type Person } from "../fixtures/person.js";
import { type Frame, type RawClient, RawHttp, RawStdio, refusalIn, textOf } from "../fixtures/raw.js";
import { everyTool, fakeServer } from "../fixtures/servers.js";

const form = "approval: { channels: [client, cli] }";
const place = makePlace({
  "all.yaml": `agent: "*"
on_change: allow
allow: [${everyTool("fake")}]
review:
  - { action: "*__pay", reason: Money is seen by a person, ${form} }
  - { action: "*__delete_file", approval: { channels: [page, cli] } }
  - { action: "*__env", approval: { channels: [client, cli], quorum: 2 } }
  - { action: "*__touch", approval: { channels: [client, cli], approvers: [mail-team] } }
  - { action: "*__odd", approval: { channels: [client, cli], reason: required } }
  - { action: "*__slow", approval: { channels: [client], expires: 700ms } }
`,
});
const frames = join(place.root, "frames");
const [command, ...args] = fakeServer();

let gateway: HttpGateway;
let person: Person;
const clients: RawClient[] = [];
let canaries = 0;
const fresh = (): string => `ask-canary-${canaries++}-`;
const runs = (canary: string): Execution[] =>
  readLedger(place.ledger).executions.filter(
    (run) => run.tool !== "garbage" && run.arguments.includes(canary),
  );

const connect = async (said: object = {}, token = gateway.token): Promise<RawHttp> => {
  const client = await RawHttp.connect({ kind: "http", url: gateway.url, token }, { said });
  clients.push(client);
  return client;
};
const isForm = ({ method }: Frame): boolean => method === "elicitation/create";
const messageOf = ({ params }: Frame): string => String(params?.message);
/** The form that asks about this call. */
const asked = (client: RawClient, canary: string): Promise<Frame> =>
  client.frame((frame) => isForm(frame) && messageOf(frame).includes(canary));
const say = (client: RawClient, { id }: Frame, answer: object): void =>
  client.send(JSON.stringify({ jsonrpc: "2.0", id, ...answer }));
const yes = { result: { action: "accept" as const, content: { approve: true } } };
const withdrawn = (client: RawClient, { id }: Frame): Promise<Frame> =>
  client.frame(({ method, params }) => method === "notifications/cancelled" && params?.requestId === id);

/** That the call runs once the form is accepted: nothing that came before has spoilt it. */
async function runsOnYes(client: RawClient, canary: string): Promise<void> {
  const before = client.frames.filter(isForm).length;
  const { answer } = client.call("fake__pay", { args: { canary } });
  const question = await client.frame(
    (frame) =>
      isForm(frame) &&
      messageOf(frame).includes(canary) &&
      client.frames.filter(isForm).indexOf(frame) >= before,
  );
  say(client, question, yes);
  expect(textOf(await answer)).toMatch(/^paid/);
  expect(runs(canary)).toHaveLength(1);
}

beforeAll(async () => {
  // Who could decide what the rules ask of several, or of a group: without them the gateway does not start.
  const made = await place.cli([
    "token",
    "create",
    "--role",
    "approver",
    "--name",
    "bob",
    "--group",
    "mail-team",
  ]);
  expect(made.code).toBe(0);
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: { fake: { command, args, env: { LEDGER: place.ledger, FRAMES: frames } } },
    hold: { wait: "2500ms" },
  });
  person = await openPerson(place);
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await person?.leave();
  await gateway?.stop();
  place.remove();
});

interface Asking {
  readonly message: string;
  readonly schema: unknown;
}

/** A client of the SDK whose person says yes to every form. */
async function yesSayer(sdk: "v1" | "v2", way: Way, seen: Asking[]): Promise<V1Client | V2Client> {
  const info = { name: "yes-sayer", version: "1.0.0" };
  const capabilities = { elicitation: {} };
  const answer = (params: unknown): typeof yes.result => {
    const { message, requestedSchema } = params as { message: string; requestedSchema: unknown };
    seen.push({ message, schema: requestedSchema });
    return yes.result;
  };
  const headers = way.kind === "http" ? { authorization: `Bearer ${way.token}` } : {};
  const [program = "", ...rest] = way.kind === "stdio" ? way.command : [];
  const stdio = { command: program, args: rest, stderr: "ignore" as const };
  const options = way.kind === "stdio" ? { ...stdio, env: way.env ?? {}, cwd: way.cwd ?? "." } : stdio;
  if (sdk === "v1") {
    const client = new V1Client(info, { capabilities });
    client.setRequestHandler(ElicitRequestSchema, ({ params }) => answer(params));
    const http: unknown = way.kind === "http" && new V1Http(new URL(way.url), { requestInit: { headers } });
    await client.connect(way.kind === "stdio" ? new V1Stdio(options) : (http as Transport));
    return client;
  }
  const client = new V2Client(info, { capabilities, versionNegotiation: { mode: "auto" } });
  client.setRequestHandler("elicitation/create", ({ params }) => answer(params));
  await client.connect(
    way.kind === "http" ? new V2Http(new URL(way.url), { requestInit: { headers } }) : new V2Stdio(options),
  );
  return client;
}

describe("a client that has forms", () => {
  it.each([
    ["v1", "stdio"],
    ["v1", "http"],
    ["v2", "stdio"],
    ["v2", "http"],
  ] as const)("of SDK %s over %s is asked, and its yes runs the call", async (sdk, kind) => {
    const seen: Asking[] = [];
    const way: Way =
      kind === "http"
        ? { kind, url: gateway.url, token: gateway.token }
        : wrapWay(place, fakeServer(), { agent: `${sdk}-agent` });
    const client = await yesSayer(sdk, way, seen);
    try {
      const canary = fresh();
      const name = kind === "http" ? "fake__pay" : "pay";
      const result = await client.callTool({ name, arguments: { canary, to: "Ann" } });
      expect(JSON.stringify(result)).toContain("paid undefined to Ann");
      expect(runs(canary)).toHaveLength(1);
      expect(seen).toHaveLength(1);
      expect(seen[0]?.schema).toMatchObject({
        type: "object",
        properties: { approve: { type: "boolean" } },
        required: ["approve"],
      });
      const agent = kind === "http" ? "tester" : `${sdk}-agent`;
      const all = await person.approvals("consumed");
      expect(all.at(-1)).toMatchObject({ agent, decidedBy: `client:${agent}` });
    } finally {
      await client.close();
    }
  });

  it("is shown what would run, with what hides in it, and that it is Aegis who asks", async () => {
    const client = await connect();
    const canary = fresh();
    const hidden = `{"zoo":"\u202egnp.exe\u200b\u0007\\n","big":9007199254740993,"canary":"${canary}"}`;
    const { answer } = client.call("fake__pay", { args: hidden.replace("\u0007", "\\u0007") });
    const question = await asked(client, canary);
    const { id } = await person.asked(canary);
    const message = messageOf(question);
    expect(question.params).toMatchObject({ mode: "form" });
    expect(message).toContain(`Aegis asks for its approval ${id}`);
    expect(message).toMatch(/^ {4}action: {4}fake__pay$/m);
    expect(message).toMatch(/^ {4}server: {4}fake$/m);
    expect(message).toMatch(/^ {4}agent: {5}tester$/m);
    expect(message).toMatch(/^ {4}why: .*Money is seen by a person/m);
    const shown = String.raw`{"big":9007199254740993,"canary":"${canary}","zoo":"\u202egnp.exe\u200b\u0007\n"}`;
    expect(message.split("\n")).toContain(`    arguments: ${shown}`);
    say(client, question, yes);
    expect(textOf(await answer)).toMatch(/^paid/);
  });

  it.each([
    ["2025-06-18", {}, { mode: undefined }],
    ["2025-06-18", { form: {} }, { mode: undefined }],
    ["2025-11-25", { form: {}, url: {} }, { mode: "form" }],
  ])("as revision %s says it (%j) is asked as that says it", async (protocolVersion, elicitation, said) => {
    const client = await connect({ protocolVersion, capabilities: { elicitation } });
    const canary = fresh();
    const { answer } = client.call("fake__pay", { args: { canary } });
    const question = await asked(client, canary);
    expect({ mode: question.params?.mode }).toEqual(said);
    say(client, question, yes);
    expect(textOf(await answer)).toMatch(/^paid/);
  });
});

describe("what is no yes", () => {
  const result = (said: unknown): object => ({ result: said });
  const accept = (content: unknown): object => result({ action: "accept", content });
  const answers: Record<string, object> = {
    "a no": accept({ approve: false }),
    decline: result({ action: "decline" }),
    "decline with a yes": result({ action: "decline", content: { approve: true } }),
    cancel: result({ action: "cancel" }),
    "an error": { error: { code: -32601, message: "Method not found" } },
    "an error beside a yes": { ...yes, error: { code: -32601, message: "Method not found" } },
    "no content": result({ action: "accept" }),
    "an empty content": accept({}),
    text: accept({ approve: "true" }),
    one: accept({ approve: 1 }),
    "a list": accept([true]),
    null: accept(null),
    "an extra key": accept({ approve: true, remember: true }),
    "another extra key": accept(JSON.parse('{"approve":true,"__proto__":{}}')),
    "a yes beside more": result({ action: "accept", content: { approve: true }, always: true }),
    "another word": result({ action: "Accept", content: { approve: true } }),
    "no action": result({ content: { approve: true } }),
    "no object": result(true),
    nothing: {},
  };

  it("leaves the call waiting, whatever it is, and a later yes counts (A7)", async () => {
    await Promise.all(
      Object.entries(answers).map(async ([what, said]) => {
        const client = await connect();
        const canary = fresh();
        const { answer } = client.call("fake__pay", { args: { canary } });
        const question = await asked(client, canary);
        // What has neither result nor error is no frame: the form stays open.
        say(client, question, said);
        // The first answer was the one.
        if (what !== "nothing") say(client, question, yes);
        const refused = refusalIn(await answer);
        expect([what, refused?.decision], what).toEqual([what, "REVIEW"]);
        expect(await person.approval(refused?.approval ?? 0), what).toMatchObject({
          status: "pending",
          votes: [],
        });
        expect(runs(canary), what).toEqual([]);
        await runsOnYes(client, canary);
        expect((await person.approval(refused?.approval ?? 0)).status, what).toBe("consumed");
      }),
    );
  });

  it("is a yes that comes when nobody asks any more: the form was taken back (A7)", async () => {
    const client = await connect();
    const canary = fresh();
    const { answer } = client.call("fake__pay", { args: { canary } });
    const question = await asked(client, canary);
    const refused = refusalIn(await answer);
    expect(refused).toMatchObject({ decision: "REVIEW" });
    await withdrawn(client, question);
    say(client, question, yes);
    await runsOnYes(client, canary);
    expect(runs(canary)).toHaveLength(1);
  });

  it("is whatever a client without forms says: it is not asked (A7)", async () => {
    const without = [
      { capabilities: {} },
      { capabilities: { elicitation: { url: {} } } },
      { capabilities: { elicitation: true } },
      { protocolVersion: "2025-03-26" },
    ];
    await Promise.all(
      without.map(async (said) => {
        const client = await connect(said);
        const canary = fresh();
        const { answer } = client.call("fake__pay", { args: { canary } });
        const { id } = await person.asked(canary);
        for (const guess of [id, String(id), 0, 1, `aegis:${id}`]) say(client, { id: guess }, yes);
        expect(refusalIn(await answer)).toMatchObject({ decision: "REVIEW", approval: id });
        expect(client.frames.filter(isForm)).toEqual([]);
        const { answer: again } = client.call("fake__pay", { args: { canary } });
        await person.approve(id);
        expect(textOf(await again)).toMatch(/^paid/);
      }),
    );
  });

  it("is what nobody could be shown whole: it is not asked, and a person decides elsewhere", async () => {
    const client = await connect();
    const long = [
      { text: "x".repeat(4_200) },
      { text: "\u200b".repeat(800) },
      { text: `rm${" ".repeat(200)}-rf /` },
    ];
    await Promise.all(
      long.map(async (more) => {
        const canary = fresh();
        const { answer } = client.call("fake__pay", { args: { canary, ...more } });
        const { id } = await person.asked(canary);
        expect(refusalIn(await answer)).toMatchObject({ decision: "REVIEW", approval: id });
        expect(client.frames.filter((each) => messageOf(each).includes(canary))).toEqual([]);
        await person.approve(id);
        const { answer: again } = client.call("fake__pay", { args: { canary, ...more } });
        expect(textOf(await again)).toMatch(/^paid/);
      }),
    );
    const canary = fresh();
    const { answer } = client.call("fake__pay", { args: { canary, text: "x".repeat(3_500) } });
    say(client, await asked(client, canary), yes);
    expect(textOf(await answer)).toMatch(/^paid/);
  });
});

describe("a client that says yes to everything by itself", () => {
  it("is not asked where the rule does not list it, or asks for more than anybody's yes (A6)", async () => {
    const client = await connect();
    const yesToAll = setInterval(() => {
      for (const question of client.frames.filter(isForm)) say(client, question, yes);
    }, 1);
    try {
      const held = ["delete_file", "env", "touch", "odd"].map(async (tool) => {
        const canary = fresh();
        const { answer } = client.call(`fake__${tool}`, { args: { canary } });
        const refused = refusalIn(await answer);
        expect([tool, refused?.decision]).toEqual([tool, "REVIEW"]);
        expect((await person.approval(refused?.approval ?? 0)).status).toBe("pending");
        expect(runs(canary)).toEqual([]);
      });
      await Promise.all(held);
      expect(client.frames.filter(isForm)).toEqual([]);
      // Where the rule lists it, it is as good as the policy says: and the record says who that was.
      const canary = fresh();
      expect(textOf(await client.call("fake__pay", { args: { canary } }).answer)).toMatch(/^paid/);
      const said = (await person.records()).findLast(
        ({ kind, decision }) => kind === "approval" && decision === "approved",
      );
      expect(said).toMatchObject({ principal: "client:tester", reason: "accepted in the client" });
    } finally {
      clearInterval(yesToAll);
    }
  });
});

describe("a question that is no longer one", () => {
  it.each(["approve", "deny"] as const)("is taken back where somebody else decides: %s", async (way) => {
    const client = await connect();
    const canary = fresh();
    const { answer } = client.call("fake__pay", { args: { canary } });
    const question = await asked(client, canary);
    const { id } = await person.asked(canary);
    await person[way](id);
    await withdrawn(client, question);
    say(client, question, yes);
    if (way === "approve") expect(textOf(await answer)).toMatch(/^paid/);
    else expect(refusalIn(await answer)).toMatchObject({ decision: "BLOCK" });
    expect((await person.approval(id)).decidedBy).toBe("os:someone");
    expect(runs(canary)).toHaveLength(way === "approve" ? 1 : 0);
    await runsOnYes(client, fresh());
  });

  it("is taken back where the client withdraws the call; the approval stays", async () => {
    const client = await connect();
    const canary = fresh();
    const { id: call } = client.call("fake__pay", { args: { canary } });
    const question = await asked(client, canary);
    const { id } = await person.asked(canary);
    client.cancel(call);
    await withdrawn(client, question);
    say(client, question, yes);
    await runsOnYes(client, fresh());
    expect((await person.approval(id)).status).toBe("pending");
    expect(runs(canary)).toEqual([]);
    await runsOnYes(client, canary);
  });

  it("is taken back where its time is over", async () => {
    const client = await connect();
    const canary = fresh();
    const { answer } = client.call("fake__slow", { args: { canary, ms: 1 } });
    const question = await asked(client, canary);
    await withdrawn(client, question);
    say(client, question, yes);
    expect(refusalIn(await answer)).toMatchObject({ decision: "BLOCK" });
    expect(runs(canary)).toEqual([]);
    const { answer: again } = client.call("fake__slow", { args: { canary, ms: 1 } });
    say(
      client,
      await client.frame((each) => isForm(each) && messageOf(each).includes(canary) && each !== question),
      yes,
    );
    expect(textOf(await again)).toBe("at last");
  });

  it("is taken back by a kill, and a yes behind it runs nothing", async () => {
    const token = JSON.parse(
      (
        await place.cli([
          "token",
          "create",
          "--role",
          "agent",
          "--name",
          "doomed",
          "--agent",
          "doomed",
          "--json",
        ])
      ).stdout,
    ) as { token: string };
    const client = await connect({}, token.token);
    const canary = fresh();
    const { answer } = client.call("fake__pay", { args: { canary } });
    const question = await asked(client, canary);
    const { id } = await person.asked(canary);
    expect((await place.cli(["kill", "doomed"])).code).toBe(0);
    await withdrawn(client, question);
    say(client, question, yes);
    expect(refusalIn(await answer)).toMatchObject({ decision: "KILLED" });
    expect((await person.approval(id)).status).toBe("void");
    expect(runs(canary)).toEqual([]);
    await person.revive("doomed");
    await runsOnYes(client, fresh());
  });
});

describe("a server that asks in the words of Aegis", () => {
  const told = (): Frame[] =>
    readFileSync(frames, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Frame)
      .filter(({ method }) => method === undefined);

  it("hears the answer itself, and no approval does: not even under the id of our question (A8)", async () => {
    const way = wrapWay(place, fakeServer(), { agent: "wrapped", env: { FRAMES: frames } });
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = await RawStdio.connect(way);
    clients.push(client);
    const canary = fresh();
    const { answer } = client.call("pay", { args: { canary } });
    const question = await asked(client, canary);
    const { id } = await person.asked(canary);
    // No server can have used it before: alone on its connection its own ids pass as they are.
    expect(question.id).toMatch(/^aegis:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    const spoof = (key: unknown): string =>
      JSON.stringify({ jsonrpc: "2.0", id: key, method: "elicitation/create", params: question.params });
    const lines = [
      // First: behind a request of its own under that id it would take back that one.
      JSON.stringify({
        jsonrpc: "2.0",
        method: "notifications/cancelled",
        params: { requestId: question.id },
      }),
      JSON.stringify({ jsonrpc: "2.0", id: question.id, ...yes }),
      spoof(question.id),
      spoof(`approval ${id}`),
    ];
    await client.call("garbage", { args: { lines } }).answer;
    const [, ...spoofed] = client.frames.filter(isForm);
    expect(spoofed.map(messageOf)).toEqual([messageOf(question), messageOf(question)]);
    // Under its own id where it is its own, and never under ours.
    expect(spoofed.map((each) => each.id)).toEqual([expect.not.stringContaining("aegis:"), `approval ${id}`]);
    expect(client.frames.some(({ method }) => method === "notifications/cancelled")).toBe(false);
    for (const each of spoofed) say(client, each, yes);
    await expect.poll(() => told().map((each) => each.id)).toEqual([question.id, `approval ${id}`]);
    expect(await person.approval(id)).toMatchObject({ status: "pending", votes: [] });
    expect(runs(canary)).toEqual([]);
    say(client, question, yes);
    expect(textOf(await answer)).toMatch(/^paid/);
    expect(await person.approval(id)).toMatchObject({ status: "consumed", decidedBy: "client:wrapped" });
    // And of that answer the server heard nothing.
    expect(told()).toHaveLength(2);
  });

  it("changes nothing about an approval that waits behind one endpoint with it (A8)", async () => {
    const client = await connect();
    const canary = fresh();
    const { answer } = client.call("fake__pay", { args: { canary } });
    const question = await asked(client, canary);
    const { id } = await person.asked(canary);
    const { answer: other } = client.call("fake__ask_client", { args: { meta: { origin: canary } } });
    const spoofed = await client.frame(
      (each) => isForm(each) && (each.params?._meta as { origin?: string } | undefined)?.origin === canary,
    );
    say(client, spoofed, yes);
    expect(JSON.parse(textOf(await other))).toMatchObject(yes);
    expect((await person.approval(id)).status).toBe("pending");
    say(client, question, yes);
    expect(textOf(await answer)).toMatch(/^paid/);
  });
});
