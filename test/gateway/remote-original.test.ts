/** A gateway in front of an original Aegis backend: the built program, and the contract's own holes around it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePlace } from "../fixtures/gateway.js";
import { type Execution, readLedger } from "../fixtures/ledger.js";
import { OriginalServer } from "../fixtures/original-backend.js";
import { eventually } from "../fixtures/person.js";
import { RawStdio, refusalIn } from "../fixtures/raw.js";
import { remoteWrapWay } from "../fixtures/remote.js";
import { fakeServer } from "../fixtures/servers.js";

const place = makePlace();
let original: OriginalServer;
let canaries = 0;

const fresh = (): string => `original-canary-${canaries++}-`;
const runs = (canary: string): Execution[] =>
  readLedger(place.ledger).executions.filter((run) => run.arguments.includes(canary));
const wrap = (agent: string): Promise<RawStdio> =>
  RawStdio.connect(
    remoteWrapWay(place, fakeServer(), { AEGIS_BACKEND_URL: original.url, AEGIS_AGENT: agent }),
  );
const cli = (...args: string[]) => place.cli(args, { env: { AEGIS_BACKEND_URL: original.url } });

beforeAll(async () => {
  original = await OriginalServer.start();
  for (const agent of ["bot", "victim"])
    for (const tool of ["echo", "slow"]) original.policy(agent, `fake__${tool}`, "ALLOW");
});
afterAll(async () => {
  await original?.stop();
  place.remove();
});

describe("in front of an original backend", () => {
  it("a call runs once ALLOWED stands in its log, and its end behind it", async () => {
    const client = await wrap("bot");
    const canary = fresh();
    expect((await client.call("echo", { args: { canary } }).answer).result?.isError ?? false).toBe(false);
    expect(runs(canary)).toHaveLength(1);
    await client.close();
    expect(original.statuses("fake__echo")).toEqual(["ALLOWED", "COMPLETED"]);
    expect(original.asked.some((line) => /init|find-approval/.test(line))).toBe(false);
  });

  it("a call without a rule waits until a person approves it, and runs once", async () => {
    const client = await wrap("bot");
    const canary = fresh();
    const call = client.call("pay", { args: { canary } });
    const { id } = await eventually("an approval", () => [...original.approvals.values()].at(-1));
    expect(original.approvals.get(id)?.args_json).toContain(canary);
    expect((await cli("approve", String(id))).code).toBe(0);
    expect((await call.answer).result?.isError ?? false).toBe(false);
    expect(runs(canary)).toHaveLength(1);
    await client.close();
  });

  it("a kill stops what is in flight, and outlives the agent's registering itself again", async () => {
    const client = await wrap("victim");
    const canary = fresh();
    const call = client.call("slow", { args: { canary, ms: 8000 } });
    await eventually("a run", () => runs(canary)[0]);
    const { code, stderr } = await cli("kill", "victim");
    expect(code).toBe(0);
    expect(stderr).toContain("knows no gateways");
    expect(refusalIn(await call.answer)).toMatchObject({ decision: "KILLED" });
    original.agents.set("victim", "REGISTERED");
    const next = await client.call("echo", { args: { canary: fresh() } }).answer;
    expect(refusalIn(next)).toMatchObject({ decision: "KILLED" });
    expect((await cli("revive", "victim")).code).toBe(0);
    const after = await client.call("echo", { args: { canary: fresh() } }).answer;
    expect(after.result?.isError ?? false).toBe(false);
    await client.close();
  });

  it("doctor says what it is and what it cannot give", async () => {
    const { stdout, code } = await cli("doctor");
    expect(code).toBe(0);
    expect(stdout).toContain(`original Aegis backend at ${original.url}`);
    for (const word of ["lease", "confirmed kill", "chain", "arguments"]) expect(stdout).toContain(word);
    const refused = await cli("audit", "verify");
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("no chain") as string });
  });

  it("clients over HTTP are refused: nobody there could tell them apart", async () => {
    const [command, ...args] = fakeServer();
    const file = place.writeConfig({ servers: { fake: { command, args } } });
    const refused = await cli("gateway", "--config", file, "--http", "127.0.0.1:0");
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("knows no tokens") as string });
  });
});
