/** Every way in which a backend's answer can go wrong refuses the call, in time, and the next good answer allows again. */
import type { ServerResponse } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import pino from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readAddress } from "../../src/client/address.js";
import type { Intent } from "../../src/client/backend.js";
import { HttpBackend } from "../../src/client/http.js";
import { Requests } from "../../src/client/requests.js";
import { eventually } from "../fixtures/person.js";
import { type Asked, json, ScriptedBackend } from "../fixtures/scripted-backend.js";

const log = pino({ level: "silent" });
const DECISIONS = "/v1/decisions";

let server: ScriptedBackend;
let backend: HttpBackend;
let calls = 0;

function openAt(url: string, token: string | null = "secret"): Promise<HttpBackend> {
  return HttpBackend.open(new Requests(readAddress(url, "test", token)), "9.9.9", log);
}

function intent(given: Partial<Intent> = {}): Intent {
  return {
    call: `gw1-${++calls}`,
    gateway: "gw1",
    agent: "bot",
    principal: "agent:bot",
    server: "files",
    tool: "read",
    action: "files__read",
    definition: "0".repeat(64),
    arguments: "{}",
    parsed: {},
    ...given,
  };
}

/** An ALLOW of the call that was asked about, with these changes. */
function allowing(asked: Asked, changes: object = {}): object {
  const { call } = asked.body;
  const verdict = {
    call,
    decision: "ALLOW",
    rule: null,
    reason: "",
    revision: "r",
    record: 1,
    lease_ms: 2000,
  };
  return { ...verdict, ...changes };
}

const raw =
  (status: number, headers: Record<string, string>, body: string) =>
  (_asked: Asked, response: ServerResponse) => {
    response.writeHead(status, headers).end(body);
  };
const jsonType = { "content-type": "application/json" };

beforeEach(async () => {
  server = await ScriptedBackend.start();
  backend = await openAt(server.url);
});
afterEach(async () => {
  await backend.close();
  await server.stop();
});

/** Decides one call while the fault lasts, and one after it. */
async function refusedThenAllowed(
  fault: (asked: Asked, response: ServerResponse, socket: Socket) => void,
): Promise<void> {
  server.fault = (asked, response, socket) => {
    if (asked.path !== DECISIONS) return false;
    fault(asked, response, socket);
    return true;
  };
  const began = performance.now();
  const asked = intent();
  await expect(backend.decide(asked)).rejects.toMatchObject({ name: "AegisError" });
  expect(performance.now() - began).toBeLessThan(2400);
  server.fault = () => false;
  const verdict = await backend.decide(intent());
  expect(verdict.decision).toBe("ALLOW");
  expect(verdict.leaseUntil).toBeGreaterThan(performance.now());
}

describe("an answer refuses where it is", () => {
  it.each<[string, (asked: Asked, response: ServerResponse, socket: Socket) => void]>([
    ["a 500", (_asked, response) => json(response, 500, { detail: "Internal Server Error" })],
    ["a 429", (_asked, response) => json(response, 429, { detail: "Too many." })],
    ["a 401", (_asked, response) => json(response, 401, { detail: "Who?" })],
    ["an ALLOW with status 206", (asked, response) => json(response, 206, allowing(asked))],
    ["an ALLOW with status 201", (asked, response) => json(response, 201, allowing(asked))],
    ["an ALLOW with status 500", (asked, response) => json(response, 500, allowing(asked))],
    ["a 304", raw(304, {}, "")],
    ["a page for people", raw(200, { "content-type": "text/html" }, "<html>ALLOW</html>")],
    [
      "an ALLOW as text/plain",
      (asked, response) =>
        response.writeHead(200, { "content-type": "text/plain" }).end(JSON.stringify(allowing(asked))),
    ],
    [
      "an ALLOW in an encoding that was not asked for",
      (asked, response) =>
        response
          .writeHead(200, { ...jsonType, "content-encoding": "br" })
          .end(JSON.stringify(allowing(asked))),
    ],
    ["{}", raw(200, jsonType, "{}")],
    ["null", raw(200, jsonType, "null")],
    ["true", raw(200, jsonType, "true")],
    ['"ALLOW"', raw(200, jsonType, '"ALLOW"')],
    ["nothing", raw(200, jsonType, "")],
    ["an array", (asked, response) => json(response, 200, [allowing(asked)])],
    ["allow", (asked, response) => json(response, 200, allowing(asked, { decision: "allow" }))],
    ["ALLOW and a space", (asked, response) => json(response, 200, allowing(asked, { decision: "ALLOW " }))],
    [
      "a decision of the future",
      (asked, response) => json(response, 200, allowing(asked, { decision: "ALLOW_ONCE" })),
    ],
    [
      "an ALLOW with an error beside it",
      (asked, response) => json(response, 200, allowing(asked, { error: "x" })),
    ],
    [
      "an ALLOW without a lease",
      (asked, response) => json(response, 200, allowing(asked, { lease_ms: undefined })),
    ],
    [
      "an ALLOW with a lease that is no number",
      (asked, response) => json(response, 200, allowing(asked, { lease_ms: "9" })),
    ],
    [
      "an ALLOW of another call",
      (asked, response) => json(response, 200, allowing(asked, { call: "gw1-0" })),
    ],
    [
      "half of an ALLOW",
      (asked, response) =>
        response.writeHead(200, jsonType).end(JSON.stringify(allowing(asked)).slice(0, -9)),
    ],
    [
      "cut off before its end",
      (asked, response, socket) => {
        const text = JSON.stringify(allowing(asked));
        response.writeHead(200, { ...jsonType, "content-length": text.length });
        response.write(text.slice(0, 20), () => socket.destroy());
      },
    ],
    [
      "reset after its headers",
      (_asked, response, socket) =>
        void response.writeHead(200, jsonType).write(" ", () => socket.resetAndDestroy()),
    ],
    ["never there", () => {}],
    [
      "a byte now and then",
      (asked, response) => {
        const text = JSON.stringify(allowing(asked));
        response.writeHead(200, jsonType);
        let sent = 0;
        const timer = setInterval(() => response.write(text[sent++] ?? " "), 50);
        response.once("close", () => clearInterval(timer));
      },
    ],
    [
      "endless",
      (_asked, response) => {
        response.writeHead(200, jsonType);
        const chunk = Buffer.alloc(256 * 1024, 32);
        const more = (): void => {
          while (!response.destroyed && response.write(chunk));
          response.once("drain", more);
        };
        more();
      },
    ],
  ])("%s", async (_what, fault) => {
    await refusedThenAllowed(fault);
  });

  it("a redirect, which is not followed with the token", async () => {
    const elsewhere = await ScriptedBackend.start();
    try {
      await refusedThenAllowed((_asked, response) =>
        response.writeHead(307, { location: `${elsewhere.url}${DECISIONS}` }).end(),
      );
      expect(elsewhere.asked).toEqual([]);
    } finally {
      await elsewhere.stop();
    }
  });
});

describe("a backend that is away", () => {
  it("refuses at once where nothing listens, naming the address without the secret, and allows when it is back", async () => {
    await backend.close();
    backend = await openAt(server.url.replace("//", "//user:hunter2@"));
    const { port } = server;
    await server.stop();
    const refused = await backend.decide(intent()).catch((thrown: unknown) => thrown);
    expect(refused).toMatchObject({
      code: "backend_unavailable",
      message: expect.stringMatching(/^The backend at http:\/\/127\.0\.0\.1:\d+ cannot be reached/) as string,
    });
    expect(JSON.stringify(refused) + String((refused as Error).stack)).not.toContain("hunter2");
    server = await ScriptedBackend.start(port);
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
  });

  it("refuses within the deadline where it accepts and says nothing", async () => {
    const sockets = new Set<Socket>();
    const mute: Server = createServer((socket) => sockets.add(socket));
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    const address = mute.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const began = performance.now();
    await expect(openAt(`http://127.0.0.1:${port}`)).rejects.toMatchObject({ code: "backend_unavailable" });
    expect(performance.now() - began).toBeLessThan(2400);
    for (const socket of sockets) socket.destroy();
    mute.close();
  });

  it("refuses a thousand calls within the deadline where it is slow, and then allows (R8)", async () => {
    server.fault = ({ path }) => path === DECISIONS;
    const began = performance.now();
    const asked = Array.from({ length: 1000 }, () =>
      backend.decide(intent()).catch((thrown: unknown) => thrown),
    );
    for (const result of await Promise.all(asked))
      expect(result).toMatchObject({ code: "backend_unavailable" });
    expect(performance.now() - began).toBeLessThan(4000);
    server.fault = () => false;
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
  });
});

describe("a decision whose answer was lost", () => {
  const dropFirst = (path: string): void => {
    let dropped = false;
    server.fault = (asked, _response, socket) => {
      if (asked.path !== path || dropped) return false;
      dropped = true;
      // Committed: the script has decided it, and the connection breaks before anybody hears.
      server.decided.set(String(asked.body.call), allowing(asked));
      socket.resetAndDestroy();
      return true;
    };
  };

  it("is asked for again under its id, once; the ALLOW that comes then has no lease until it is renewed", async () => {
    dropFirst(DECISIONS);
    const asked = intent();
    const verdict = await backend.decide(asked);
    expect(verdict).toMatchObject({ decision: "ALLOW", call: asked.call });
    expect(verdict.leaseUntil).toBeLessThan(performance.now());
    expect(server.bodies(DECISIONS).map(({ call }) => call)).toEqual([asked.call, asked.call]);
    const renewed = await backend.release(asked, null);
    expect(renewed.leaseUntil).toBeGreaterThan(performance.now());
  });

  it("is not asked for a third time", async () => {
    server.fault = (asked, _response, socket) =>
      asked.path === DECISIONS && socket.resetAndDestroy() !== undefined;
    await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
    expect(server.bodies(DECISIONS)).toHaveLength(2);
  });

  it("is not repeated where an answer came, however bad", async () => {
    server.fault = (asked, response) => {
      if (asked.path === DECISIONS) json(response, 503, { detail: "x" });
      return asked.path === DECISIONS;
    };
    await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
    expect(server.bodies(DECISIONS)).toHaveLength(1);
  });

  it("is not repeated where the answer has no end, and is given up before it fills the memory", async () => {
    server.fault = (asked, response) => {
      if (asked.path !== DECISIONS) return false;
      response.writeHead(200, jsonType).write(Buffer.alloc(2 * 1024 * 1024, 32));
      return true;
    };
    await expect(backend.decide(intent())).rejects.toThrow(/ is over 10485\d\d bytes/);
    expect(server.bodies(DECISIONS)).toHaveLength(1);
  });

  it("has its end recorded: it was not forwarded (L3), also where it is written down after that was told", async () => {
    server.fault = ({ path }, response) => path === DECISIONS && response.writeHead(502).end() !== undefined;
    const asked = intent();
    await expect(backend.decide(asked)).rejects.toThrow("HTTP 502");
    const told = await eventually("the outcome", () => server.bodies("/v1/outcomes")[0]);
    expect(told.outcomes).toMatchObject([{ call: asked.call, outcome: "not_forwarded" }]);
    expect(await eventually("it again", () => server.bodies("/v1/outcomes")[1])).toEqual(told);
  });

  it("has its end recorded where it was sent, and the second question found nobody or a refusal", async () => {
    let dropped = false;
    server.fault = (asked, response, socket) => {
      if (asked.path !== DECISIONS) return false;
      if (dropped) json(response, 403, { detail: "Not any more.", code: "not_permitted" });
      else socket.resetAndDestroy();
      dropped = true;
      return true;
    };
    const asked = intent();
    await expect(backend.decide(asked)).rejects.toMatchObject({ code: "not_permitted" });
    const told = await eventually("the outcome", () => server.bodies("/v1/outcomes")[0]);
    expect(told.outcomes).toMatchObject([{ call: asked.call, outcome: "not_forwarded" }]);
  });

  it("of a hold: its end is told once an ALLOW can not come behind it any more, and not before", async () => {
    const held = intent();
    server.decision = "REVIEW";
    await backend.decide(held);
    server.fault = (asked, _response, socket) =>
      asked.path === "/v1/decisions/release" && socket.resetAndDestroy() !== undefined;
    await expect(backend.release(held, 1)).rejects.toMatchObject({ code: "backend_unavailable" });
    const lost = performance.now();
    const { call, agent, principal, server: key, tool, action } = held;
    const names = { agent, principal, server: key, tool, action };
    backend.outcome({ call, ...names, outcome: "refused", duration: 1, approval: 1 });
    const told = await eventually("the outcome", () => server.bodies("/v1/outcomes")[0]);
    expect(performance.now() - lost).toBeGreaterThan(4_900);
    expect(told.outcomes).toMatchObject([{ call, outcome: "not_forwarded", approval: 1 }]);
    expect(server.bodies("/v1/outcomes")).toHaveLength(1);
  });

  it("of a hold that was refused has the end it had, at once", async () => {
    const held = intent();
    server.fault = (asked, response) => {
      if (asked.path !== "/v1/decisions/release") return false;
      json(response, 403, { detail: "No.", code: "not_permitted" });
      return true;
    };
    await expect(backend.release(held, 1)).rejects.toMatchObject({ code: "not_permitted" });
    const { call, agent, principal, server: key, tool, action } = held;
    const names = { agent, principal, server: key, tool, action };
    backend.outcome({ call, ...names, outcome: "refused", duration: 1 });
    const told = await eventually("the outcome", () => server.bodies("/v1/outcomes")[0], 2_000);
    expect(told.outcomes).toMatchObject([{ call, outcome: "refused" }]);
  });

  it("of a hold: the approval that this call used up is found by a renewal", async () => {
    let dropped = false;
    server.fault = (asked, response, socket) => {
      if (asked.path !== "/v1/decisions/release") return false;
      if (!dropped) {
        dropped = true;
        socket.resetAndDestroy();
      } else if (asked.body.approval === 7) {
        const approval = { id: 7, status: "consumed", expires_at: "" };
        json(response, 200, allowing(asked, { decision: "BLOCK", lease_ms: undefined, approval }));
      } else json(response, 200, allowing(asked));
      return true;
    };
    expect(await backend.release(intent(), 7)).toMatchObject({ decision: "ALLOW" });
    expect(server.bodies("/v1/decisions/release").map(({ approval }) => approval)).toEqual([7, 7, null]);
  });
});

describe("a lease", () => {
  it("counts from before the question was sent, and is never longer than ours", async () => {
    server.lease = 1e12;
    const before = performance.now();
    const slow = 150;
    server.fault = (asked, response) => {
      if (asked.path !== DECISIONS) return false;
      setTimeout(() => json(response, 200, allowing(asked, { lease_ms: 1e12 })), slow);
      return true;
    };
    const { leaseUntil = Infinity } = await backend.decide(intent());
    expect(leaseUntil).toBeGreaterThanOrEqual(before + 2000);
    expect(leaseUntil).toBeLessThan(performance.now() + 2000 - slow + 50);
  });
});

describe("outcomes", () => {
  const outcome = (call: string) =>
    ({
      call,
      agent: "bot",
      principal: "p",
      server: "files",
      tool: "read",
      action: "files__read",
      outcome: "ok",
      duration: 1,
    }) as const;
  const told = (): unknown[] =>
    server
      .bodies("/v1/outcomes")
      .flatMap(({ outcomes }) => (outcomes as { call: string }[]).map(({ call }) => call));

  it("are kept while the backend is away, and arrive in their order", async () => {
    const { port } = server;
    await server.stop();
    for (let n = 1; n <= 50; n++) backend.outcome(outcome(`gw1-o${n}`));
    await new Promise((resolve) => setTimeout(resolve, 50));
    server = await ScriptedBackend.start(port);
    await eventually("all of them", () => (told().length === 50 ? true : undefined));
    expect(told()).toEqual(Array.from({ length: 50 }, (_each, n) => `gw1-o${n + 1}`));
  });

  it("that are refused do not take the others along", async () => {
    const taken: string[] = [];
    server.fault = (asked, response) => {
      if (asked.path !== "/v1/outcomes") return false;
      const batch = (asked.body.outcomes as { call: string }[]).map(({ call }) => call);
      const bad = batch.includes("gw1-bad");
      if (!bad) taken.push(...batch);
      json(response, bad ? 422 : 200, bad ? { detail: [] } : {});
      return true;
    };
    for (const call of ["gw1-a", "gw1-bad", "gw1-b"]) backend.outcome(outcome(call));
    await eventually("the good ones", () => (taken.length === 2 ? true : undefined));
    expect(taken).toEqual(["gw1-a", "gw1-b"]);
  });

  it("are sent when the gateway ends", async () => {
    backend.outcome(outcome("gw1-last"));
    await backend.close();
    expect(told()).toEqual(["gw1-last"]);
  });
});
