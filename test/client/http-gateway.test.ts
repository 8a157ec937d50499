/** A gateway at a backend somewhere else: what it hears, what it confirms, and what it finds out after it heard nothing. */
import pino from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readAddress } from "../../src/client/address.js";
import type { BackendEvent, Intent, Outcome } from "../../src/client/backend.js";
import { HttpBackend } from "../../src/client/http.js";
import { Requests } from "../../src/client/requests.js";
import { eventually } from "../fixtures/person.js";
import { type Asked, json, ScriptedBackend } from "../fixtures/scripted-backend.js";

const log = pino({ level: "silent" });
let server: ScriptedBackend;
let backend: HttpBackend;
let heard: BackendEvent[];
let ids: string[];
let calls = 0;
/** How often an agent had been made known when the gateway was given another id. */
let agentsKnown = 0;

beforeEach(async () => {
  server = await ScriptedBackend.start();
  backend = await HttpBackend.open(new Requests(readAddress(server.url, "test", "secret")), "9.9.9", log);
  heard = [];
  ids = [];
  backend.subscribe((event) => {
    heard.push(event);
  });
  const renamed = (id: string): void => {
    agentsKnown = server.bodies("/v1/agents").length;
    ids.push(id);
  };
  ids.push(await backend.attach({ pid: 7, label: "wrap files", address: null }, renamed));
  await backend.ensureAgent("bot");
  await eventually("a stream", () => (server.listening === 1 ? true : undefined));
});
afterEach(async () => {
  await backend.close();
  await server.stop();
});

function intent(gateway = ids.at(-1) ?? ""): Intent {
  return {
    call: `${gateway}-${++calls}`,
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

function ended(call: string): Outcome {
  const names = {
    agent: "bot",
    principal: "agent:bot",
    server: "files",
    tool: "read",
    action: "files__read",
  };
  return { call, ...names, outcome: "ok", duration: 1 };
}

const confirmed = (): unknown => server.bodies("/v1/gateways/heard").at(-1)?.event;
const streams = (): Asked[] => server.asked.filter(({ path }) => path.startsWith("/v1/gateways/events"));
const mark = (): unknown => server.bodies("/v1/gateways/heartbeat").at(-1)?.mark;

describe("an event", () => {
  it("is told to every listener, and confirmed when all of them have finished", async () => {
    let finish = (): void => {};
    const finished = new Promise<void>((resolve) => {
      finish = resolve;
    });
    backend.subscribe(() => finished);
    const number = server.emit({ kind: "kill", agent: "bot" });
    await eventually("the kill", () => heard[0]);
    expect(heard).toEqual([{ kind: "kill", agent: "bot" }]);
    // Time enough for a confirmation that does not wait: there is none.
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(confirmed()).toBeUndefined();
    finish();
    await eventually("the confirmation", () => (confirmed() === number ? true : undefined));
  });

  it("whose listener failed is not confirmed, nor by what comes behind it", async () => {
    const leave = backend.subscribe(() => Promise.reject(new Error("no")));
    server.emit({ kind: "kill", agent: "bot" });
    await eventually("the kill", () => heard[0]);
    leave();
    server.emit({ kind: "policy", revision: "r2" });
    await eventually("the event behind it", () => heard[1]);
    // Longer than a confirmation takes; when it may be given is in heard.test.ts.
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect(server.bodies("/v1/gateways/heard")).toEqual([]);
  });

  it("of a kind that is not known changes nothing, and is confirmed", async () => {
    const number = server.emit({ kind: "moonrise", agent: "bot" });
    await eventually("the confirmation", () => (confirmed() === number ? true : undefined));
    expect(heard).toEqual([]);
  });
});

describe("after a gap", () => {
  it("goes on behind the last event it has heard", async () => {
    const number = server.emit({ kind: "policy", revision: "r2" });
    await eventually("the event", () => heard[0]);
    server.cutStreams();
    await eventually("a new stream", () => streams()[1]);
    expect(streams().map(({ headers }) => headers["last-event-id"])).toEqual(["0", String(number)]);
  });

  it("finds out that an agent was killed, or revived, while nobody told it", async () => {
    server.killed.add("bot");
    server.cutStreams();
    await eventually("the kill", () => heard.find(({ kind }) => kind === "kill"));
    server.killed.clear();
    server.cutStreams();
    await eventually("the end of the kill", () => heard.find(({ kind }) => kind === "revive"));
    expect(heard).toEqual([
      { kind: "kill", agent: "bot" },
      { kind: "revive", agent: "bot" },
    ]);
  });

  it("believes what it hears while it asks: what is read then is older", async () => {
    await eventually("the first look", () => server.bodies("/v1/agents")[1]);
    let told = false;
    server.fault = ({ path }, response) => {
      if (path !== "/v1/agents" || told) return false;
      told = true;
      server.emit({ kind: "kill", agent: "bot" });
      setTimeout(() => json(response, 200, server.agent("bot")), 50);
      return true;
    };
    await backend.ensureAgent("bot");
    expect(heard).toEqual([{ kind: "kill", agent: "bot" }]);
  });

  it.each(["ACTIVE", "KILLED"])(
    "believes what it hears while it asks twice at once, whichever question comes first (%s)",
    async (second) => {
      await eventually("the first look", () => server.bodies("/v1/agents")[1]);
      const slow: (() => void)[] = [];
      server.fault = ({ path }, response) => {
        if (path !== "/v1/agents") return false;
        const answer = server.agent("bot");
        slow.push(() => json(response, 200, answer));
        return true;
      };
      const before = backend.agents();
      await eventually("the question", () => slow[0]);
      server.killed.add("bot");
      server.emit({ kind: "kill", agent: "bot" });
      await eventually("the kill", () => heard[0]);
      const after = backend.agents();
      await eventually("the second question", () => slow[1]);
      for (const answer of second === "KILLED" ? slow : slow.toReversed()) answer();
      expect(await before).toMatchObject([{ status: "KILLED" }]);
      expect(await after).toMatchObject([{ status: "KILLED" }]);
      expect(heard).toEqual([{ kind: "kill", agent: "bot" }]);
    },
  );

  it("believes the newer of two answers, in whichever order they come", async () => {
    await eventually("the first look", () => server.bodies("/v1/agents")[1]);
    let late = (): void => {};
    server.fault = ({ path }, response) => {
      if (path !== "/v1/agents") return false;
      const answer = server.agent("bot");
      late = () => json(response, 200, answer);
      server.fault = () => false;
      return true;
    };
    const before = backend.agents();
    await eventually("the question", () => server.bodies("/v1/agents")[2]);
    server.killed.add("bot");
    expect(await backend.agents()).toMatchObject([{ status: "KILLED" }]);
    late();
    expect(await before).toMatchObject([{ status: "KILLED" }]);
    expect(heard).toEqual([{ kind: "kill", agent: "bot" }]);
  });

  it("finds out what was decided of the calls that are held", async () => {
    server.decision = "REVIEW";
    const { approval } = await backend.decide(intent());
    const id = approval?.id ?? 0;
    server.approvals.set(id, "approved");
    server.cutStreams();
    await eventually("the approval", () => heard[0]);
    expect(heard).toEqual([{ kind: "approval", id, status: "approved" }]);
  });

  it("asks for the state of everything where the backend has forgotten events, and then confirms", async () => {
    // What is read when the stream opens has been read.
    await eventually("the first look", () => server.bodies("/v1/agents")[1]);
    server.killed.add("bot");
    const number = server.resync();
    await eventually("the kill", () => heard.find(({ kind }) => kind === "kill"));
    await eventually("the confirmation", () => (confirmed() === number ? true : undefined));
  });

  it("does not confirm what it could not find out", async () => {
    let asked = 0;
    server.fault = ({ path }, response) => {
      if (path !== "/v1/agents") return false;
      asked++;
      response.writeHead(503).end();
      return true;
    };
    server.emit({ kind: "policy", revision: "r2" });
    await eventually("its confirmation", () => confirmed());
    const before = server.bodies("/v1/gateways/heard").length;
    server.resync();
    await eventually("the question", () => (asked > 0 ? true : undefined));
    expect(server.bodies("/v1/gateways/heard")).toHaveLength(before);
  });

  it("notices a stream that is silent", async () => {
    // The script says nothing after its first comment.
    await eventually("another stream", () => streams()[1], 9000);
  });
});

describe("a gateway that the backend has forgotten", () => {
  it("enlists again under another id, and its agents with it", async () => {
    await eventually("the first look", () => server.bodies("/v1/agents")[1]);
    const before = server.bodies("/v1/agents").length;
    server.known = false;
    await eventually("another id", () => ids[1]);
    expect(ids).toEqual(["gw1", "gw2"]);
    // Before the first call under the new id: the backend may have lost its store.
    expect(agentsKnown).toBeGreaterThan(before);
    await eventually("a stream of it", () =>
      server.asked.find(({ path }) => path === "/v1/gateways/events?gateway=gw2"),
    );
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
    await eventually("its heartbeat", () =>
      server.bodies("/v1/gateways/heartbeat").find(({ gateway }) => gateway === "gw2"),
    );
  });

  it("finds out by its next call at the latest", async () => {
    server.fault = ({ path, body }, response) => {
      if (path !== "/v1/decisions" || body.gateway !== "gw1") return false;
      response
        .writeHead(404, { "content-type": "application/json" })
        .end('{"detail":"No such gateway.","code":"unknown_gateway"}');
      return true;
    };
    await expect(backend.decide(intent())).rejects.toMatchObject({
      code: "unknown_gateway",
      message: expect.stringMatching(/the call was not run\. Repeat exactly the same call/) as string,
    });
    await eventually("another id", () => ids[1]);
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
    // What began under the old id is refused, and changes nothing for the new one.
    for (let stale = 0; stale < 3; stale++) {
      await expect(backend.decide(intent("gw1"))).rejects.toMatchObject({ code: "unknown_gateway" });
      const beats = server.bodies("/v1/gateways/heartbeat").length;
      await eventually("two heartbeats", () => server.bodies("/v1/gateways/heartbeat")[beats + 1]);
    }
    expect(ids).toEqual(["gw1", "gw2"]);
    expect(server.bodies("/v1/gateways")).toHaveLength(2);
  });

  it("takes the new id once its agents are known there, though that failed at first", async () => {
    await eventually("the first look", () => server.bodies("/v1/agents")[1]);
    let failed = 0;
    server.fault = ({ path }, response) => {
      if (path !== "/v1/agents" || failed > 0) return false;
      failed++;
      response.writeHead(503).end();
      return true;
    };
    server.known = false;
    await eventually("another id", () => ids[1]);
    expect(failed).toBe(1);
    expect(ids).toEqual(["gw1", "gw2"]);
    expect(server.bodies("/v1/gateways")).toHaveLength(2);
  });
});

describe("the mark of a heartbeat", () => {
  it("stays before the oldest call that is open, until its outcome has arrived", async () => {
    const first = intent();
    const { record } = await backend.decide(first);
    const second = intent();
    await backend.decide(second);
    await eventually("the mark", () => (mark() === record - 1 ? true : undefined));
    const { call, agent, principal, server: key, tool, action } = first;
    server.fault = ({ path }, response) =>
      path === "/v1/outcomes" && response.writeHead(503).end() !== undefined;
    backend.outcome({ call, agent, principal, server: key, tool, action, outcome: "ok", duration: 1 });
    await eventually("an attempt", () => server.bodies("/v1/outcomes")[0]);
    const beats = server.bodies("/v1/gateways/heartbeat").length;
    await eventually("two more heartbeats", () => server.bodies("/v1/gateways/heartbeat")[beats + 1]);
    expect(mark()).toBe(record - 1);
    server.fault = () => false;
    await eventually("the next mark", () => (mark() === record ? true : undefined));
  });

  it("moves on where outcomes were displaced by others", async () => {
    const { record, call } = await backend.decide(intent());
    server.fault = ({ path }, response) =>
      path === "/v1/outcomes" && response.writeHead(503).end() !== undefined;
    for (let n = 0; n <= 20_000; n++) backend.outcome(ended(n === 0 ? call : `gw1-more${n}`));
    await eventually("the mark", () => (mark() === record ? true : undefined));
  });

  it("is the newest record where none is open", async () => {
    server.decision = "BLOCK";
    const { record } = await backend.decide(intent());
    await eventually("the mark", () => (mark() === record ? true : undefined));
  });
});

describe("good-bye", () => {
  const goodByes = (): unknown[] => server.bodies("/v1/gateways/leave");

  it("is said when its calls have ended", async () => {
    const { call } = await backend.decide(intent());
    backend.outcome(ended(call));
    await backend.close();
    expect(goodByes()).toEqual([{ gateway: "gw1" }]);
  });

  it("is not said where the end of a call could not be told: the backend ends it when it finds out", async () => {
    const { call } = await backend.decide(intent());
    server.fault = ({ path }, response) =>
      path === "/v1/outcomes" && response.writeHead(503).end() !== undefined;
    backend.outcome(ended(call));
    await backend.close();
    expect(server.bodies("/v1/outcomes").length).toBeGreaterThan(0);
    expect(goodByes()).toEqual([]);
  });

  it("is not said where a decision may still be written whose answer was not heard", async () => {
    server.fault = ({ path }, response) =>
      path === "/v1/decisions" && response.writeHead(502).end() !== undefined;
    await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
    await backend.close();
    expect(server.bodies("/v1/outcomes")).toHaveLength(1);
    expect(goodByes()).toEqual([]);
  });
});

it("refuses where its agent is not the token's, and where the token is not known", async () => {
  server.fault = ({ path }, response) => {
    if (path !== "/v1/agents") return false;
    response
      .writeHead(403, { "content-type": "application/json" })
      .end('{"detail":"Another.","code":"not_permitted"}');
    return true;
  };
  await expect(backend.ensureAgent("other")).rejects.toMatchObject({
    code: "not_permitted",
    message: "Another.",
  });
  server.fault = (_asked, response) => response.writeHead(401).end() !== undefined;
  await expect(backend.ensureAgent("other")).rejects.toMatchObject({
    code: "not_permitted",
    hint: expect.stringContaining("AEGIS_TOKEN") as string,
  });
});
