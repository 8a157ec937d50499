/** Nobody hears another's answer: many clients with the same ids, many servers with the same ids, and servers that lie. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpGateway, makePlace, startHttpGateway, wrapWay } from "../fixtures/gateway.js";
import { type Frame, RawStdio, textOf } from "../fixtures/raw.js";
import { everyTool, fakeServer, type HttpFake, startFakeHttp } from "../fixtures/servers.js";
import { frame, type WireResponse, WireSession } from "../fixtures/wire.js";

const place = makePlace({
  "all.yaml": `agent: "*"\non_change: allow\nallow: [${everyTool("fake", "one", "two", "remote")}]\n`,
});
let gateway: HttpGateway;
let remote: HttpFake;
const servers = ["one", "two", "remote"] as const;

beforeAll(async () => {
  remote = await startFakeHttp(["--name", "remote"], { FRAMES: join(place.root, "remote") });
  const stdio = (name: string): object => {
    const [command, ...args] = fakeServer("--name", name);
    return { command, args, env: { FRAMES: join(place.root, name) } };
  };
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: { one: stdio("one"), two: stdio("two"), remote: { url: remote.url } },
  });
});

afterAll(async () => {
  await gateway?.stop();
  await remote?.stop();
  place.remove();
});

describe("fifty clients that count their requests from 0", () => {
  it("each hear their own answers and nothing else, 2,000 of them", async () => {
    const tokens = [gateway.token];
    for (const agent of ["ann", "bob"]) {
      const { stdout } = await place.cli([
        "token",
        "create",
        "--role",
        "agent",
        "--name",
        agent,
        "--agent",
        agent,
        "--json",
      ]);
      tokens.push((JSON.parse(stdout) as { token: string }).token);
    }
    const sessions = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        WireSession.open(gateway, { path: "/remote", token: tokens[index % tokens.length] ?? "" }),
      ),
    );
    const strays: string[] = [];
    const calls = 40;
    await Promise.all(
      sessions.map(async (session, client) => {
        // Two requests of each client at a time, so that all fifty have the same ids open.
        for (let id = 0; id < calls; id += 2) {
          await Promise.all(
            [id, id + 1].map(async (each) => {
              const canary = `client-${client}-call-${each}`;
              const params = {
                name: "progress",
                arguments: { steps: 1, ms: 0, canary },
                ...(each % 10 === 0 ? { _meta: { progressToken: 0 } } : {}),
              };
              const tool = each % 10 === 0 ? params : { name: "echo", arguments: { canary } };
              const response = await session.post(frame("tools/call", tool, each));
              await response.ended;
              const expected = each % 10 === 0 ? "1 steps" : JSON.stringify({ canary });
              const [answer] = response.frames.slice(-1);
              if (answer?.id !== each || textOf(answer) !== expected) strays.push(response.text);
              const progress = response.frames.slice(0, -1);
              if (progress.length !== (each % 10 === 0 ? 1 : 0)) strays.push(response.text);
            }),
          );
        }
      }),
    );
    expect(strays).toEqual([]);
    await Promise.all(sessions.map((session) => session.end()));
  });
});

/** A session on the merged endpoint with its GET stream. */
async function merged(): Promise<{ session: WireSession; stream: WireResponse }> {
  const session = await WireSession.open(gateway, { capabilities: { elicitation: {}, roots: {} } });
  return { session, stream: await session.listen() };
}

describe("two servers behind one endpoint", () => {
  it("that ask with the same id and progress token at the same time each get their own answer", async () => {
    const { session, stream } = await merged();
    const calls = await Promise.all(
      servers.map((server, id) => {
        const args = { meta: { progressToken: "same", origin: server } };
        return session.post(frame("tools/call", { name: `${server}__ask_client`, arguments: args }, id));
      }),
    );
    // On the GET stream, or on that of the call where the server said which call it is about.
    const heard = (): Frame[] =>
      [stream, ...calls].flatMap(({ isStream, frames }) => (isStream ? frames : []));
    const questions = (): Frame[] => heard().filter(({ method }) => method === "elicitation/create");
    await expect.poll(() => questions().length, { timeout: 5000 }).toBe(servers.length);
    const metaOf = (question: Frame): Record<string, unknown> =>
      question.params?._meta as Record<string, unknown>;
    expect(new Set(questions().map(({ id }) => id)).size).toBe(servers.length);
    expect(new Set(questions().map((each) => metaOf(each).progressToken)).size).toBe(servers.length);

    for (const question of questions().toReversed()) {
      const { origin, progressToken } = metaOf(question);
      await session.post(frame("notifications/progress", { progressToken, progress: 1, message: origin }));
      const result = { action: "accept", content: { colour: origin } };
      await session.post(JSON.stringify({ jsonrpc: "2.0", id: question.id, result }));
    }
    await Promise.all(calls.map(({ ended }) => ended));
    for (const [id, server] of servers.entries()) {
      const answer = calls[id]?.frames.find((each) => each.id === id && each.result);
      // The server hears its own id again, in the answer to its own question, and its own token.
      expect(JSON.parse(textOf(answer ?? {}))).toMatchObject({
        id: 0,
        result: { content: { colour: server } },
      });
      const told = readFileSync(join(place.root, server), "utf8")
        .split("\n")
        .filter((line) => line.includes("notifications/progress"))
        .map((line) => JSON.parse(line) as Frame);
      expect(told.map(({ params }) => params)).toEqual([
        { progressToken: "same", progress: 1, message: server },
      ]);
    }
    await session.end();
  });

  it("hear no answer twice, and none to what they did not ask", async () => {
    const { session, stream } = await merged();
    const call = session.call("one__ask_client", {}, 1);
    await expect.poll(() => stream.frames.length, { timeout: 5000 }).toBe(1);
    const [question] = stream.frames;
    const answer = (id: unknown, colour: string): string =>
      JSON.stringify({ jsonrpc: "2.0", id, result: { action: "accept", content: { colour } } });
    for (const id of [0, "0", 1, null, "made-up"])
      expect((await session.post(answer(id, "forged"))).status).toBe(202);
    expect((await session.post(answer(question?.id, "blue"))).status).toBe(202);
    expect((await session.post(answer(question?.id, "late"))).status).toBe(202);
    expect(JSON.parse(textOf(await call))).toMatchObject({ id: 0, result: { content: { colour: "blue" } } });
    await session.end();
  });

  it("cannot answer, or report progress, for a call that is at the other", async () => {
    const { session, stream } = await merged();
    const params = { name: "one__slow", arguments: { ms: 700 }, _meta: { progressToken: "mine" } };
    const slow = await Promise.all([
      session.post(frame("tools/call", params, "held by one")),
      session.call("two__garbage", {
        lines: [
          '{"jsonrpc":"2.0","id":"held by one","result":{"content":[{"type":"text","text":"forged"}]}}',
          '{"jsonrpc":"2.0","id":"held by one","error":{"code":1,"message":"forged"}}',
          '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":1}}',
          '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"held by one"}}',
        ],
      }),
    ]);
    const [response, lied] = slow;
    await response.ended;
    expect(textOf(lied)).toBe("the real answer");
    expect(response.frames).toMatchObject([
      { id: "held by one", result: { content: [{ text: "at last" }] } },
    ]);
    expect(JSON.stringify(stream.frames)).not.toContain("mine");
    await session.end();
  });
});

describe("what a server says that nobody asked", () => {
  it("is dropped: noise, strangers' answers, second answers, progress of no call", async () => {
    const way = wrapWay(place, fakeServer());
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = await RawStdio.connect(way);
    try {
      const before = client.frames.length;
      const { id, answer } = client.call("garbage", { meta: '{"progressToken":"own"}' });
      expect(textOf(await answer)).toBe("the real answer");
      expect(textOf(await client.call("echo", { args: '{"after":1}' }).answer)).toBe('{"after":1}');
      expect(client.frames.slice(before).map((each) => each.id)).toEqual([id, expect.any(Number)]);
      expect(client.noise).toEqual([]);
      expect(client.stderr()).toMatch(/dropped/);
    } finally {
      await client.close();
    }
  });

  it("cannot become an answer to the next client: each has a connection of its own", async () => {
    const [one, two] = await Promise.all(["/one", "/one"].map((path) => WireSession.open(gateway, { path })));
    if (!one || !two) throw new Error("two sessions");
    const waiting = two.call("slow", { ms: 600 }, 5);
    const forged = '{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"forged"}]}}';
    expect(textOf(await one.call("garbage", { lines: [forged] }, 4))).toBe("the real answer");
    expect(textOf(await waiting)).toBe("at last");
    await Promise.all([one.end(), two.end()]);
  });
});
