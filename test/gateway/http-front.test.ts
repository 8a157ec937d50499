/** Streamable HTTP in front: sessions and streams, what is let in, and what of it goes no further. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LedgerRecord } from "../../src/client/backend.js";
import { type HttpGateway, makePlace, startHttpGateway } from "../fixtures/gateway.js";
import { readLedger } from "../fixtures/ledger.js";
import { openPerson, type Person } from "../fixtures/person.js";
import { textOf } from "../fixtures/raw.js";
import { fakeServer, type HttpFake, startFakeHttp } from "../fixtures/servers.js";
import { frame, type Headers, WireResponse, WireSession } from "../fixtures/wire.js";

const SESSIONS = 24;
const place = makePlace({
  "tester.yaml": 'agent: tester\non_change: allow\nallow: ["*__*"]\n',
  "other.yaml": 'agent: other\non_change: allow\nallow: ["*__*"]\n',
});
let gateway: HttpGateway;
let remote: HttpFake;
let person: Person;
const opened: WireSession[] = [];

const open = async (options: Parameters<typeof WireSession.open>[1] = {}): Promise<WireSession> => {
  const session = await WireSession.open(gateway, { path: "/remote", ...options });
  opened.push(session);
  return session;
};

interface NewToken {
  readonly id: number;
  readonly token: string;
}

async function newToken(...flags: string[]): Promise<NewToken> {
  const { stdout, stderr } = await place.cli(["token", "create", ...flags, "--json"]);
  expect(stderr).toBe("");
  return JSON.parse(stdout) as NewToken;
}

const hello = frame(
  "initialize",
  { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "x", version: "1" } },
  1,
);
const accept: Headers[number] = ["accept", "application/json, text/event-stream"];
const json: Headers[number] = ["content-type", "application/json"];

/** One POST of `initialize` with these headers and nothing added but the token. */
async function knock(headers: Headers, body: string | Buffer = hello): Promise<WireResponse> {
  const all: Headers = headers.some(([name]) => name === "authorization")
    ? headers
    : [["authorization", `Bearer ${gateway.token}`], ...headers];
  const response = await WireResponse.open(gateway.url, { headers: all, body });
  await response.ended;
  const id = response.headers["mcp-session-id"];
  if (typeof id === "string") {
    const ours: Headers = [...all.filter(([name]) => name === "authorization"), ["mcp-session-id", id]];
    await (await WireResponse.open(gateway.url, { method: "DELETE", headers: ours })).ended;
  }
  return response;
}

const executions = (canary: string): number =>
  readLedger(place.ledger).executions.filter((run) => run.arguments.includes(canary)).length;

const noted = async (kind: string, reason: RegExp): Promise<LedgerRecord[]> =>
  (await person.records()).filter((record) => record.kind === kind && reason.test(record.reason ?? ""));

beforeAll(async () => {
  remote = await startFakeHttp(["--name", "remote"], { LEDGER: place.ledger });
  const [command, ...args] = fakeServer("--name", "local");
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    limits: { frame: "64KiB", sessions: SESSIONS },
    servers: {
      remote: { url: remote.url, headers: { Authorization: "Bearer of-the-server", "X-Own": "own" } },
      local: { command, args, env: { LEDGER: place.ledger } },
    },
  });
  person = await openPerson(place);
});

afterAll(async () => {
  await person?.leave();
  await gateway?.stop();
  await remote?.stop();
  place.remove();
});

describe("a session", () => {
  it("is opened by initialize, has an id nobody can guess, and is gone after DELETE", async () => {
    const [one, two] = [await open(), await open()];
    expect(one.id).toMatch(/^[\x21-\x7e]{22,}$/);
    expect(two.id).not.toBe(one.id);
    expect(textOf(await one.call("echo", { a: 1 }))).toBe('{"a":1}');
    expect(await one.end()).toBe(200);
    const after = await one.post(frame("ping", {}, 9));
    expect(after.status).toBe(404);
    expect((await one.listen()).status).toBe(404);
    expect(await one.end()).toBe(404);
    expect(textOf(await two.call("echo", { a: 2 }))).toBe('{"a":2}');
  });

  it("is needed for all but initialize, and initialized once", async () => {
    const without = await knock([accept, json], frame("tools/list", {}, 1));
    expect(without.status).toBe(400);
    const made = await knock([accept, json, ["mcp-session-id", "made-up"]], frame("tools/list", {}, 1));
    expect(made.status).toBe(404);
    const session = await open();
    expect((await session.post(hello)).status).toBe(400);
    expect(textOf(await session.call("echo", { a: 1 }))).toBe('{"a":1}');
  });

  it("belongs to one token and one path", async () => {
    const { token } = await newToken("--role", "agent", "--name", "second", "--agent", "tester");
    const mine = await open();
    const theirs = await open({ token });
    for (const [url, bearer] of [
      [mine.url, token],
      [gateway.url, mine.token],
      [`${gateway.url}/local`, mine.token],
    ] as const) {
      const headers: Headers = [
        ["authorization", `Bearer ${bearer}`],
        accept,
        json,
        ["mcp-session-id", mine.id],
      ];
      const canary = `stolen-${url}-${bearer.slice(-4)}`;
      const body = frame("tools/call", { name: "echo", arguments: { canary } }, 1);
      expect((await WireResponse.open(url, { headers, body })).status).toBe(404);
      expect((await WireResponse.open(url, { method: "GET", headers })).status).toBe(404);
      expect((await WireResponse.open(url, { method: "DELETE", headers })).status).toBe(404);
      expect(executions(canary)).toBe(0);
    }
    expect(textOf(await mine.call("echo", { a: 1 }))).toBe('{"a":1}');
    expect(textOf(await theirs.call("echo", { a: 2 }))).toBe('{"a":2}');
  });

  it("is refused over the limit, and can be opened again once one has ended", async () => {
    await Promise.all(opened.splice(0).map((session) => session.end()));
    const all = await Promise.all(Array.from({ length: SESSIONS }, () => open()));
    expect((await knock([accept, json])).status).toBe(503);
    const [first, ...rest] = all;
    await first?.end();
    await (await open()).call("echo");
    await Promise.all([...rest, ...opened.splice(0)].map((session) => session.end()));
  });
});

describe("an answer", () => {
  it("is JSON where it comes at once, and a stream where something comes before it", async () => {
    const session = await open();
    const quick = await session.post(frame("tools/call", { name: "echo", arguments: {} }, 1));
    await quick.ended;
    expect(quick.headers["content-type"]).toBe("application/json");
    const params = { name: "progress", arguments: { steps: 3, ms: 20 }, _meta: { progressToken: "p" } };
    const long = await session.post(frame("tools/call", params, 2));
    await long.ended;
    expect(long.headers).toMatchObject({
      "content-type": "text/event-stream",
      "x-accel-buffering": "no",
      "cache-control": expect.stringContaining("no-cache") as string,
    });
    expect(long.frames.map(({ method, id }) => method ?? id)).toEqual([
      ...Array.from({ length: 3 }, () => "notifications/progress"),
      2,
    ]);
    expect(long.frames[0]?.params).toMatchObject({ progressToken: "p", progress: 1 });
  });

  it("becomes a stream where it takes long, so that it stays alive and can be resumed", async () => {
    const session = await open();
    const slow = await session.post(frame("tools/call", { name: "slow", arguments: { ms: 2600 } }, 3));
    expect(slow.isStream).toBe(true);
    // The first event has an id and no data: something to come back with.
    await expect.poll(() => slow.events[0]).toEqual({ id: expect.stringMatching(/./) as string, data: "" });
    await slow.ended;
    expect(slow.frames).toMatchObject([{ id: 3, result: {} }]);
  });

  it("is JSON for whoever accepts nothing else, however long it takes", async () => {
    const session = await open();
    const headers: Headers = [
      ...session.headers.filter(([name]) => name !== "accept"),
      ["accept", "application/json"],
      json,
    ];
    const params = { name: "progress", arguments: { steps: 3, ms: 20 }, _meta: { progressToken: "p" } };
    const response = await WireResponse.open(session.url, { headers, body: frame("tools/call", params, 4) });
    await response.ended;
    expect(response.headers["content-type"]).toBe("application/json");
    expect(response.frames).toMatchObject([{ id: 4, result: { content: [{ text: "3 steps" }] } }]);
  });

  it("goes on where it was when a client comes back with the id of the last event", async () => {
    const session = await open();
    const params = { name: "progress", arguments: { steps: 8, ms: 80 }, _meta: { progressToken: "p" } };
    const first = await session.post(frame("tools/call", params, 5));
    await expect.poll(() => first.frames.length, { interval: 5 }).toBeGreaterThanOrEqual(2);
    first.drop();
    await first.ended;
    const seen = first.frames.map(({ params: step }) => step?.progress);
    const second = await session.listen(first.events.at(-1)?.id);
    expect(second.isStream).toBe(true);
    await second.ended;
    const rest = second.frames.slice(0, -1).map(({ params: step }) => step?.progress);
    expect([...seen, ...rest]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(second.frames.at(-1)).toMatchObject({ id: 5, result: { content: [{ text: "8 steps" }] } });
    // Over and read to its end: whoever comes back behind the answer gets nothing a second time.
    const third = await session.listen(second.events.at(-1)?.id);
    await third.ended;
    expect(third.frames).toEqual([]);
    expect((await session.listen("999-1")).status).toBe(404);
    expect((await session.listen("nonsense")).status).toBe(404);
    expect(readLedger(place.ledger).executions.filter(({ call }) => call === "5")).toHaveLength(1);
  });

  it("is not lost with the connection that asked for it, and not heard by another session", async () => {
    const [session, stranger] = [await open(), await open()];
    const slow = await session.post(frame("tools/call", { name: "slow", arguments: { ms: 4000 } }, 6));
    await expect.poll(() => slow.events[0]?.id).toBeDefined();
    const id = slow.events[0]?.id;
    slow.drop();
    expect((await stranger.listen(id)).status).toBe(404);
    const again = await session.listen(id);
    await again.ended;
    expect(again.frames).toMatchObject([{ id: 6 }]);
    expect(readLedger(place.ledger).sightings.some(({ cancelled }) => cancelled === "6")).toBe(false);
  });
});

describe("the GET stream", () => {
  it("carries what belongs to no call, and what was missed between two connections", async () => {
    const [session, other] = [await open(), await open()];
    const first = await session.listen();
    expect(first.isStream).toBe(true);
    await other.call("change_tools");
    await expect
      .poll(() => first.frames.map(({ method }) => method))
      .toEqual(["notifications/tools/list_changed"]);
    first.drop();
    await first.ended;
    await other.call("change_tools");
    const second = await session.listen(first.events.at(-1)?.id);
    await expect
      .poll(() => second.frames.map(({ method }) => method))
      .toEqual(["notifications/tools/list_changed"]);
    await session.end();
    await second.ended;
  });

  it("is for clients that accept one", async () => {
    const session = await open();
    for (const [accepted, status] of [
      ["application/json", 406],
      ["*/*", 200],
    ] as const) {
      const headers: Headers = [
        ...session.headers.filter(([name]) => name !== "accept"),
        ["accept", accepted],
      ];
      const response = await WireResponse.open(session.url, { method: "GET", headers });
      expect(response.status).toBe(status);
      response.drop();
    }
  });
});

describe("a request is let in", () => {
  const good: readonly (readonly [string, Headers])[] = [
    ["as JSON", [json]],
    ["as JSON in other capitals", [["content-type", "Application/JSON"]]],
    ["as JSON with a parameter", [["content-type", "application/json; charset=utf-8"]]],
    ["without an Accept header", [json]],
    ["from a page of this address", [json, ["origin", "ORIGIN"]]],
    ["under the name localhost", [json, ["host", "localhost:PORT"]]],
    ["in a revision that is known", [json, ["mcp-protocol-version", "2025-03-26"]]],
  ];
  it.each(good)("%s", async (what, headers) => {
    const { port, origin } = new URL(gateway.url);
    const filled = headers.map(
      ([name, value]) => [name, value.replace("PORT", port).replace("ORIGIN", origin)] as const,
    );
    const response = await knock(what.startsWith("without") ? filled : [accept, ...filled]);
    expect(response.status).toBe(200);
  });
});

describe("a request is kept out", () => {
  const types: readonly (readonly [string, Headers])[] = [
    ["as text", [["content-type", "text/plain"]]],
    ["as text that mentions JSON", [["content-type", "text/plain;x=application/json"]]],
    ["as a form", [["content-type", "application/x-www-form-urlencoded"]]],
    ["as two types", [json, ["content-type", "text/plain"]]],
    ["as JSON twice", [json, json]],
    ["as a list of types", [["content-type", "application/json, text/plain"]]],
    ["as something like JSON", [["content-type", "application/json-patch+json"]]],
    ["without a type", []],
    ["compressed", [json, ["content-encoding", "gzip"]]],
    ["not compressed, it says", [json, ["content-encoding", "identity, gzip"]]],
  ];
  it.each(types)("%s: 415", async (_, headers) => {
    expect((await knock([accept, ...headers])).status).toBe(415);
  });

  const hosts: readonly (readonly [string, Headers])[] = [
    ["a Host elsewhere", [["host", "evil.com"]]],
    ["a Host elsewhere with our port", [["host", "evil.com:PORT"]]],
    ["a Host that begins like ours", [["host", "127.0.0.1.evil.com:PORT"]]],
    ["a Host that ends like ours", [["host", "evil-localhost:PORT"]]],
    ["a Host with another port", [["host", "127.0.0.1:1"]]],
    ["a Host without the port", [["host", "127.0.0.1"]]],
    ["a Host with a dot at the end", [["host", "localhost.:PORT"]]],
    ["a Host as a number", [["host", "2130706433:PORT"]]],
    ["an empty Host", [["host", ""]]],
    ["a page elsewhere", [["origin", "http://evil.com"]]],
    ["a page without an origin", [["origin", "null"]]],
    ["an empty Origin", [["origin", ""]]],
    ["a page that begins like ours", [["origin", "http://localhost.evil.com:PORT"]]],
    ["a page that hides behind a user", [["origin", "http://127.0.0.1:PORT@evil.com"]]],
    ["a page under a user", [["origin", "http://evil@127.0.0.1:PORT"]]],
    ["a page of another port", [["origin", "http://127.0.0.1:1"]]],
    ["a page of no port", [["origin", "http://127.0.0.1"]]],
    ["an address without a scheme", [["origin", "127.0.0.1:PORT"]]],
    [
      "two origins, one ours",
      [
        ["origin", "http://127.0.0.1:PORT"],
        ["origin", "http://evil.com"],
      ],
    ],
  ];
  it.each(hosts)("from %s: 403", async (_, headers) => {
    const { port } = new URL(gateway.url);
    const filled = headers.map(([name, value]) => [name, value.replace("PORT", port)] as const);
    expect((await knock([accept, json, ...filled])).status).toBe(403);
    await expect.poll(() => noted("login_refused", /Host|Origin/)).not.toEqual([]);
  });

  const tokens: readonly (readonly [string, Headers])[] = [
    ["no token", [["authorization", ""]]],
    ["an empty token", [["authorization", "Bearer "]]],
    ["a made-up token", [["authorization", `Bearer aegis_${"A".repeat(43)}`]]],
    ["another scheme", [["authorization", "Basic TOKEN"]]],
    ["the token and more", [["authorization", "Bearer TOKEN more"]]],
    ["the token in other capitals", [["authorization", "Bearer CAPITALS"]]],
  ];
  it.each(tokens)("with %s: 401, whatever its body is", async (_, headers) => {
    const { token } = gateway;
    const filled = headers.map(
      ([name, value]) =>
        [name, value.replace("TOKEN", token).replace("CAPITALS", token.toUpperCase())] as const,
    );
    for (const body of [hello, "not JSON"]) {
      const response = await knock([accept, json, ...filled], body);
      expect(response.status).toBe(401);
      expect(response.headers["www-authenticate"]).toMatch(/^Bearer/);
    }
    await expect
      .poll(() => noted("login_refused", /bearer token|unknown, expired or revoked/))
      .not.toEqual([]);
  });

  it("with a token in the address: 401", async () => {
    const url = `${gateway.url}?access_token=${gateway.token}&token=${gateway.token}`;
    expect((await WireResponse.open(url, { headers: [accept, json], body: hello })).status).toBe(401);
  });

  it("with a token of whoever may decide: 403", async () => {
    for (const role of ["approver", "admin", "auditor"]) {
      const { token } = await newToken("--role", role, "--name", `a-${role}`);
      const response = await knock([accept, json, ["authorization", `Bearer ${token}`]]);
      expect(response.status).toBe(403);
      await expect.poll(() => noted("login_refused", new RegExp(role))).toHaveLength(1);
    }
  });

  it("in a revision nobody knows: 400", async () => {
    expect((await knock([accept, json, ["mcp-protocol-version", "1999-01-01"]])).status).toBe(400);
    expect((await knock([accept, json, ["mcp-protocol-version", "2025-11-25, x"]])).status).toBe(400);
  });

  it("where nothing is: 404, and in a way nothing knows: 405", async () => {
    const headers: Headers = [["authorization", `Bearer ${gateway.token}`], accept, json];
    for (const path of [
      "/",
      "/mcp/absent",
      "/mcp/__proto__",
      "/mcp/remote/more",
      "/MCP",
      "/mcp/../mcp/absent",
    ]) {
      const url = new URL(path, gateway.url).href;
      expect((await WireResponse.open(url, { headers, body: hello })).status).toBe(404);
    }
    expect((await WireResponse.open(gateway.url, { method: "PUT", headers, body: hello })).status).toBe(405);
    expect((await WireResponse.open(gateway.url, { method: "OPTIONS", headers })).status).toBe(405);
  });

  it("before its body was read: a large one of a stranger costs nothing, one that never ends is cut at the limit", async () => {
    const big = Buffer.alloc(10 * 1024 * 1024, 120);
    expect((await knock([accept, json, ["authorization", "Bearer x"]], big)).status).toBe(401);
    const { port, host } = new URL(gateway.url);
    const socket = connect(Number(port), "127.0.0.1");
    let said = "";
    socket.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    socket.on("error", () => {});
    socket.write(
      `POST /mcp HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${gateway.token}\r\n` +
        "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    const chunk = `4000\r\n${"x".repeat(0x4000)}\r\n`;
    for (let written = 0; written < 64 && said === ""; written++) {
      socket.write(chunk);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    await expect.poll(() => said).toMatch(/^HTTP\/1.1 413 /);
    socket.destroy();
    expect((await knock([accept, json])).status).toBe(200);
  });
});

describe("a token", () => {
  it("that is revoked opens nothing, and closes what it had opened", async () => {
    const { id, token } = await newToken("--role", "agent", "--name", "short-lived", "--agent", "tester");
    const [theirs, ours] = [await open({ token }), await open()];
    const stream = await theirs.listen();
    const running = await theirs.post(
      frame("tools/call", { name: "slow", arguments: { ms: 9000 } }, "cut short"),
    );
    expect(await place.cli(["token", "revoke", String(id)])).toMatchObject({ code: 0 });
    await stream.ended;
    await running.ended;
    expect(running.frames.filter((each) => each.result)).toEqual([]);
    const after = await theirs.post(frame("ping", {}, 1));
    await after.ended;
    expect(after.status, after.text + gateway.stderr()).toBe(401);
    const stopped = (): boolean =>
      readLedger(place.ledger).sightings.some(({ cancelled }) => cancelled === '"cut short"');
    await expect.poll(stopped, { timeout: 3000 }).toBe(true);
    expect(textOf(await ours.call("echo", { a: 1 }))).toBe('{"a":1}');
  });

  it("says who the agent is, and nothing in the request does", async () => {
    const { token } = await newToken("--role", "agent", "--name", "of-other", "--agent", "other");
    const session = await open({ token, clientInfo: { name: "tester", version: "1", agent: "tester" } });
    const params = {
      name: "echo",
      arguments: { canary: "who-am-i", agent: "tester" },
      _meta: { agent: "tester", "io.github.aegis-sentinel/agent": "tester" },
    };
    const spoof: Headers = [
      ["x-agent", "tester"],
      ["x-aegis-agent", "tester"],
      ["cookie", "agent=tester"],
    ];
    const response = await session.post(frame("tools/call", params, 1), spoof);
    await response.ended;
    expect(response.text).toContain("who-am-i");
    const records = await person.records();
    const decided = records.filter((each) => JSON.stringify(each.arguments)?.includes("who-am-i"));
    expect(decided).toMatchObject([{ agent: "other", principal: "of-other" }]);
  });

  it("and whatever else the client sends as a header stays here; the server gets its own", async () => {
    const session = await open();
    const extra: Headers = [
      ["cookie", "session=of-the-client"],
      ["x-forwarded-for", "10.0.0.1"],
      ["x-own", "not mine"],
    ];
    const response = await session.post(frame("tools/call", { name: "headers", arguments: {} }, 1), extra);
    await response.ended;
    const text = textOf(response.frames[0] ?? {});
    const seen = JSON.parse(text) as Record<string, string>;
    expect(seen).toMatchObject({ authorization: "Bearer of-the-server", "x-own": "own" });
    expect(text).not.toContain(gateway.token);
    expect(Object.keys(seen)).not.toContain("cookie");
    expect(Object.keys(seen)).not.toContain("x-forwarded-for");
    expect(seen["mcp-session-id"]).not.toBe(session.id);
  });
});
