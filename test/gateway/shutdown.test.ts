/** The end of a gateway, by whichever way: everything it started is gone in 2 s, and the record is complete. */
import { afterAll, describe, expect, it } from "vitest";
import { main, makePlace, startHttpGateway, wrapWay } from "../fixtures/gateway.js";
import { checkLedger, type Execution, readLedger } from "../fixtures/ledger.js";
import { eventually, openPerson, type Person } from "../fixtures/person.js";
import { endPid, isAlive } from "../fixtures/process.js";
import { type Ended, type RawClient, RawHttp, RawStdio, textOf } from "../fixtures/raw.js";
import { fakeServer } from "../fixtures/servers.js";

/** As stubborn as servers come: neither the end of stdin nor SIGTERM ends it, and it has started others. */
const stubborn = fakeServer("--ignore-eof", "--ignore-sigterm");
const place = makePlace({
  "all.yaml": 'agent: "*"\non_change: allow\nallow: ["*__*"]\nreview: ["*__pay"]\n',
});
const [command, ...args] = stubborn;
const config = {
  agent: "tester",
  policies: "./policies",
  servers: { fake: { command, args, env: { LEDGER: place.ledger } } },
};
let canaries = 0;
const fresh = (): string => `shutdown-canary-${canaries++}-`;
const ran = (canary: string): Promise<Execution> =>
  eventually(`a run of ${canary}`, () =>
    readLedger(place.ledger).executions.find((run) => run.arguments.includes(canary)),
  );

interface Running {
  readonly client: RawClient;
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** What the client calls a tool of the server. */
  readonly tool: (name: string) => string;
  /** Lines of stdout that are no frames. */
  readonly noise: () => string[];
}

const fronts: Record<string, () => Promise<Running>> = {
  wrap: async () => {
    const way = wrapWay(place, stubborn);
    if (way.kind !== "stdio") throw new Error("stdio");
    return overStdio(await RawStdio.connect(way), (name) => name);
  },
  "gateway on stdio": async () => {
    const way = wrapWay(place, stubborn);
    if (way.kind !== "stdio") throw new Error("stdio");
    const gateway = [process.execPath, main, "gateway", "--config", place.writeConfig(config)];
    return overStdio(await RawStdio.connect({ ...way, command: gateway }), (name) => `fake__${name}`);
  },
  "gateway on HTTP": async () => {
    const gateway = await startHttpGateway(place, config);
    const { child, url, token } = gateway;
    const client = await RawHttp.connect({ kind: "http", url, token });
    const ended = new Promise<Ended>((resolve) => {
      child.once("exit", (code, signal) => resolve({ code, signal }));
    });
    return { client, pid: child.pid ?? 0, ended, tool: (name) => `fake__${name}`, noise: () => [] };
  },
};

function overStdio(client: RawStdio, tool: (name: string) => string): Running {
  return { client, pid: client.pid, ended: client.ended, tool, noise: () => client.noise };
}

const ways: Record<string, (running: Running) => void> = {
  EOF: ({ client }) => void client.close(),
  SIGTERM: ({ pid }) => process.kill(pid, "SIGTERM"),
  SIGINT: ({ pid }) => process.kill(pid, "SIGINT"),
};
const matrix = Object.keys(fronts).flatMap((front) =>
  Object.keys(ways)
    .filter((how) => front !== "gateway on HTTP" || how !== "EOF")
    .map((how) => [how, front] as const),
);

let person: Person | undefined;
afterAll(async () => {
  await person?.leave();
  place.remove();
});

async function start(front: string): Promise<Running> {
  person ??= await openPerson(place);
  const opener = fronts[front];
  if (opener === undefined) throw new Error(front);
  return opener();
}

/** Ends it, and says how, and after how many milliseconds everything was gone. */
async function end(
  running: Running,
  how: string,
  pids: readonly number[],
): Promise<{ ended: Ended; took: number }> {
  const before = performance.now();
  ways[how]?.(running);
  try {
    const ended = await running.ended;
    await eventually("their end", () => (pids.some(isAlive) ? undefined : true), 3000);
    return { ended, took: performance.now() - before };
  } finally {
    for (const pid of pids) endPid(pid);
  }
}

// Once more where it took too long: the machine may be busy with something else.
describe.each(matrix)("%s to %s", { retry: 2 }, (how, front) => {
  it("with a call in flight, one that is held, and a grandchild: all gone in 2 s, and recorded", async () => {
    const running = await start(front);
    const { client, tool } = running;
    const grandchild = Number(textOf(await client.call(tool("fork"), { args: { canary: fresh() } }).answer));
    expect(isAlive(grandchild)).toBe(true);
    const [flying, held] = [fresh(), fresh()];
    client.call(tool("slow"), { args: { ms: 60_000, canary: flying } });
    client.call(tool("pay"), { args: { canary: held } });
    const { pid } = await ran(flying);
    const approval = (await person?.asked(held))?.id ?? 0;

    const { ended, took } = await end(running, how, [pid, grandchild]);
    expect(ended).toEqual({ code: 0, signal: null });
    expect(took).toBeLessThan(2000);
    expect(running.noise()).toEqual([]);
    expect(await person?.outcome(flying)).toMatchObject({ outcome: "unknown" });
    expect(await person?.outcome(held)).toMatchObject({ outcome: "cancelled" });
    expect(await person?.approval(approval)).toMatchObject({ status: "pending", waiting: false });
    await person?.deny(approval);
  });
});

describe.each([
  ["EOF", "wrap"],
  ["SIGTERM", "gateway on stdio"],
  ["SIGINT", "gateway on HTTP"],
] as const)("%s to an idle %s", { retry: 2 }, (how, front) => {
  it("ends it and its server with code 0", async () => {
    const running = await start(front);
    const canary = fresh();
    await running.client.call(running.tool("echo"), { args: { canary } }).answer;
    const { pid } = await ran(canary);
    const { ended, took } = await end(running, how, [pid]);
    expect(ended).toEqual({ code: 0, signal: null });
    expect(took).toBeLessThan(2000);
    expect(running.noise()).toEqual([]);
  });
});

describe("the end of stdin right behind the last request", () => {
  it("still brings the answers", async () => {
    const running = await start("wrap");
    const { client, tool } = running;
    const calls = [1, 2, 3].map((ms) =>
      client.call(tool("slow"), { args: { ms: ms * 50, canary: fresh() } }),
    );
    const closed = client.close();
    const answers = await Promise.all(calls.map(({ answer }) => answer));
    expect(answers.map(textOf)).toEqual(["at last", "at last", "at last"]);
    await closed;
  });
});

describe("stdout of wrap", () => {
  it("holds frames only, whatever its server writes and however it ends (T14)", async () => {
    const way = wrapWay(place, fakeServer(), { env: { AEGIS_LOG_LEVEL: "trace", NODE_DEBUG: "net" } });
    if (way.kind !== "stdio") throw new Error("stdio");
    const client = await RawStdio.connect(way);
    client.send("this is not JSON");
    client.send('[{"jsonrpc":"2.0","id":1,"method":"ping"}]');
    expect(textOf(await client.call("garbage", { args: { canary: fresh() } }).answer)).toBe(
      "the real answer",
    );
    await client.call("stderr_flood", { args: { bytes: 200_000, canary: fresh() } }).answer;
    await client.call("crash", { args: { canary: fresh() } }).answer;
    await client.request("ping").answer;
    await client.close();
    expect(client.noise).toEqual([]);
    expect(client.frames.length).toBeGreaterThan(5);
    expect(client.stderr()).not.toBe("");
  });
});

describe("behind all of it", () => {
  it("each execution has its ALLOW, and the ledger verifies", async () => {
    const records = (await person?.records()) ?? [];
    const { executions } = readLedger(place.ledger);
    expect(executions.length).toBeGreaterThan(15);
    expect(checkLedger(executions, records)).toEqual([]);
    const open = records.filter(
      (each) =>
        each.kind === "decision" &&
        each.decision === "ALLOW" &&
        !records.some((other) => other.kind === "outcome" && other.call === each.call),
    );
    expect(open).toEqual([]);
    expect(await place.cli(["audit", "verify"])).toMatchObject({ code: 0 });
  });
});
