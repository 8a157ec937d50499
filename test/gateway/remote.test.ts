/** A gateway whose backend is another process, reached over HTTP: the built program on both sides. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jsonLines, makePlace } from "../fixtures/gateway.js";
import { type Execution, readLedger } from "../fixtures/ledger.js";
import { eventually } from "../fixtures/person.js";
import { type Frame, RawHttp, RawStdio, refusalIn } from "../fixtures/raw.js";
import { BackendProcess, gatewayHome, remoteWrapWay, startRemoteGateway } from "../fixtures/remote.js";
import { fakeServer } from "../fixtures/servers.js";

const policy =
  'agent: "*"\non_change: allow\nallow: ["*__echo", "*__slow"]\nreview: ["*__pay"]\nblock: ["*__danger"]\n';
const place = makePlace({ "all.yaml": policy });

let backend: BackendProcess;
/** Tokens: of a gateway for any agent, of one for the agent bot, of a person who decides. */
let gate: string;
let bound: string;
let approver: string;
let canaries = 0;

const fresh = (): string => `remote-canary-${canaries++}-`;
const runs = (canary: string): Execution[] =>
  readLedger(place.ledger).executions.filter((run) => run.arguments.includes(canary));
const ran = (canary: string): Promise<Execution> => eventually(`a run of ${canary}`, () => runs(canary)[0]);

function wrap(env: Record<string, string> = {}, flags: readonly string[] = []): Promise<RawStdio> {
  const all = { AEGIS_BACKEND_URL: backend.url, AEGIS_TOKEN: gate, ...env };
  return RawStdio.connect(remoteWrapWay(place, fakeServer(), all, flags));
}

async function asked(canary: string): Promise<number> {
  const found = await eventually("an approval", async () => {
    const path = "/v1/approvals?status=pending";
    const { approvals } = await backend.ask<{ approvals: { id: number; arguments: string }[] }>("GET", path);
    return approvals.find((each) => each.arguments.includes(canary));
  });
  return found.id;
}

async function records(): Promise<Record<string, unknown>[]> {
  return (await backend.ask<{ records: Record<string, unknown>[] }>("GET", "/v1/ledger?limit=500")).records;
}

beforeAll(async () => {
  backend = await BackendProcess.start(place);
  const made = await Promise.all([
    backend.makeToken("gate", "agent"),
    backend.makeToken("bot-token", "agent", "bot"),
    backend.makeToken("alice", "approver"),
  ]);
  [gate, bound, approver] = made.map(({ token }) => token) as [string, string, string];
});
afterAll(async () => {
  await backend?.stop();
  place.remove();
});

describe("a call through a gateway with its backend elsewhere", () => {
  it("runs where the policy there allows it, with its records there", async () => {
    const client = await wrap({ AEGIS_AGENT: "runner" });
    const canary = fresh();
    const answer = await client.call("echo", { args: { canary } }).answer;
    expect(answer.result?.isError ?? false).toBe(false);
    expect(runs(canary)).toHaveLength(1);
    const blocked = await client.call("danger", { args: { canary } }).answer;
    expect(refusalIn(blocked) ?? blocked.error).toBeDefined();
    await client.close();
    const all = await records();
    const decision = all.find((each) => each.kind === "decision" && each.agent === "runner");
    expect(decision).toMatchObject({ decision: "ALLOW", principal: "agent:runner", action: "fake__echo" });
    expect(all.find((each) => each.kind === "outcome" && each.call === decision?.call)).toMatchObject({
      outcome: "ok",
    });
  });

  it("waits for a person there, who approves with a token of their own", async () => {
    const client = await wrap({ AEGIS_AGENT: "payer" });
    const canary = fresh();
    const call = client.call("pay", { args: { canary } });
    const id = await asked(canary);
    expect(runs(canary)).toEqual([]);
    const own = await backend.cli(["approve", String(id)], { AEGIS_TOKEN: gate });
    expect(own).toMatchObject({ code: 1, stdout: "" });
    const approve = () => backend.cli(["approve", String(id)], { AEGIS_TOKEN: approver });
    expect((await approve()).code).toBe(0);
    expect((await call.answer).result?.isError ?? false).toBe(false);
    expect(runs(canary)).toHaveLength(1);
    expect(await approve()).toMatchObject({ code: 1, stderr: expect.stringContaining("alice") as string });
    await client.close();
  });

  it("is stopped in flight by a kill there, which that gateway confirms", async () => {
    const client = await wrap({ AEGIS_AGENT: "victim" });
    const canary = fresh();
    const call = client.call("slow", { args: { canary, ms: 8000 } });
    await ran(canary);
    const ended = call.answer.then((frame: Frame) => ({ frame, at: Date.now() }));
    const { code, stdout } = await backend.cli(["kill", "victim", "--json"]);
    const killedAt = Date.now();
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ status: "KILLED", confirmed: 1 });
    const { frame, at } = await ended;
    expect(refusalIn(frame)).toMatchObject({ decision: "KILLED" });
    expect(at).toBeLessThan(killedAt + 200);
    expect(refusalIn(await client.call("echo", { args: { canary: fresh() } }).answer)?.decision).toBe(
      "KILLED",
    );
    await backend.ask("POST", "/v1/revive", { agent: "victim" });
    const again = await client.call("echo", { args: { canary: fresh() } }).answer;
    expect(again.result?.isError ?? false).toBe(false);
    await client.close();
  });

  it("speaks for the agent of its token, whatever else is said", async () => {
    const client = await wrap({ AEGIS_TOKEN: bound, AEGIS_AGENT: "somebody" });
    const canary = fresh();
    await client.call("echo", { args: { canary } }).answer;
    await client.close();
    expect(client.stderr()).toContain("the agent is bot");
    const decision = (await records()).find((each) => JSON.stringify(each.arguments ?? "").includes(canary));
    expect(decision).toMatchObject({ agent: "bot", principal: "bot-token" });
  });
});

describe("a backend that goes away", () => {
  it("has calls refused within 2 s, naming it, and decided again within 5 s of its return", async () => {
    const client = await wrap({ AEGIS_AGENT: "patient" });
    await client.call("echo", { args: { canary: fresh() } }).answer;
    await backend.crash();
    const began = performance.now();
    const canary = fresh();
    const refused = await client.call("echo", { args: { canary } }).answer;
    expect(performance.now() - began).toBeLessThan(2200);
    expect(refusalIn(refused)?.reason).toContain(backend.url);
    expect(runs(canary)).toEqual([]);
    await backend.restart();
    const back = performance.now();
    const answer = await eventually("an answer", async () => {
      const frame = await client.call("echo", { args: { canary: fresh() } }).answer;
      return refusalIn(frame) === undefined ? frame : undefined;
    });
    expect(answer.result?.isError ?? false).toBe(false);
    expect(performance.now() - back).toBeLessThan(5000);
    // A kill is heard again too.
    const long = fresh();
    const call = client.call("slow", { args: { canary: long, ms: 8000 } });
    await ran(long);
    await backend.ask("POST", "/v1/kill", { agent: "patient" });
    const killedAt = performance.now();
    expect(refusalIn(await call.answer)).toMatchObject({ decision: "KILLED" });
    expect(performance.now() - killedAt).toBeLessThan(200);
    await client.close();
  });

  it("is not needed for a gateway to start: it lists its tools, refuses calls, and allows them when it is there", async () => {
    await backend.crash();
    const client = await wrap({ AEGIS_TOKEN: bound });
    const listed = await client.request("tools/list").answer;
    expect(JSON.stringify(listed.result)).toContain('"echo"');
    const canary = fresh();
    const refused = await client.call("echo", { args: { canary } }).answer;
    expect(refusalIn(refused)?.reason).toContain(backend.url);
    await backend.restart();
    const back = performance.now();
    await eventually("an answer", async () => {
      const frame = await client.call("echo", { args: { canary: fresh() } }).answer;
      return refusalIn(frame) === undefined ? frame : undefined;
    });
    expect(performance.now() - back).toBeLessThan(5000);
    await client.close();
    const last = (await records()).findLast((each) => each.kind === "decision");
    expect(last).toMatchObject({ decision: "ALLOW", agent: "bot", principal: "bot-token" });
  });
});

describe("aegis wrap", () => {
  const start = (env: Record<string, string>, flags: readonly string[] = []): RawStdio =>
    RawStdio.start(remoteWrapWay(place, fakeServer(), { AEGIS_BACKEND_URL: backend.url, ...env }, flags));

  it.each([
    ["no token", () => ({}), "AEGIS_TOKEN"],
    ["a token that is not known", () => ({ AEGIS_TOKEN: "aegis_nonsense" }), "AEGIS_TOKEN"],
    ["the token of a person", () => ({ AEGIS_TOKEN: approver }), "needs one of role agent"],
  ])("does not start with %s", async (_what, env, said) => {
    const client = start(env());
    expect((await client.ended).code).toBe(1);
    expect(client.stderr()).toContain(said);
  });

  it("refuses --policies, of which the backend has its own", async () => {
    const client = start({ AEGIS_TOKEN: gate }, ["--policies", place.policies]);
    expect((await client.ended).code).toBe(2);
    expect(client.stderr()).toContain("which has its own");
  });

  it("keeps the secret of the URL out of what it says and out of the server's environment", async () => {
    const url = backend.url.replace("//", `//x:${gate}@`);
    const client = await RawStdio.connect(
      remoteWrapWay(place, fakeServer(), { AEGIS_BACKEND_URL: url, AEGIS_LOG_LEVEL: "trace" }),
    );
    const listed = await client.request("tools/list").answer;
    const environment = readFileSync(`/proc/${client.pid}/environ`, "utf8");
    expect(environment).toContain(gate);
    expect((await client.call("echo", { args: { canary: fresh() } }).answer).result?.isError ?? false).toBe(
      false,
    );
    const [run] = readLedger(place.ledger).executions.slice(-1);
    expect(readFileSync(`/proc/${run?.pid ?? 0}/environ`, "utf8")).not.toContain(gate);
    await client.close();
    expect(client.stderr() + JSON.stringify(listed)).not.toContain(gate);
  });
});

describe("a command", () => {
  it("says which backend it spoke to, and what it found there", async () => {
    const { stdout, code } = await backend.cli(["doctor"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`aegis \\S+ at ${backend.url}, named by AEGIS_BACKEND_URL`));
    expect(stdout).toContain("valid: admin, role admin");
    const killed = await backend.cli(["kill", "runner"]);
    expect(killed.stdout).toContain(`at ${backend.url}`);
    expect(killed.stderr).toContain("no live gateway");
  });

  it("uses the admin's token of this machine where none is given", async () => {
    const own = await place.cli(["status", "--json"], { env: { AEGIS_BACKEND_URL: backend.url } });
    expect(own.code).toBe(0);
    expect(jsonLines<{ name: string }>(own.stdout).map(({ name }) => name)).toContain("bot");
  });

  it("fails loudly where the backend is not there, and falls back to no other (K5)", async () => {
    const nowhere = { AEGIS_BACKEND_URL: "http://127.0.0.1:9" };
    const killed = await place.cli(["kill", "bot"], { env: nowhere });
    expect(killed).toMatchObject({ code: 1, stdout: "" });
    expect(killed.stderr).toContain("http://127.0.0.1:9 cannot be reached");
  });

  it("does not take what is no Aegis backend for one", async () => {
    const page = createServer((_request, response) =>
      response.writeHead(200, { "content-type": "text/html" }).end("<html></html>"),
    );
    await new Promise<void>((resolve) => page.listen(0, "127.0.0.1", resolve));
    const address = page.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    const status = await place.cli(["status"], { env: { AEGIS_BACKEND_URL: `http://127.0.0.1:${port}` } });
    expect(status).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("is no Aegis backend") as string,
    });
    page.close();
  });
});

describe("over HTTP", () => {
  it("clients use tokens of that backend; the gateway's own names no agent", async () => {
    const env = { AEGIS_BACKEND_URL: backend.url, AEGIS_HOME: gatewayHome(place) };
    const [command, ...args] = fakeServer();
    const file = place.writeConfig({ servers: { fake: { command, args, env: { LEDGER: place.ledger } } } });
    const flags = ["gateway", "--config", file, "--http", "127.0.0.1:0"];
    const refused = await place.cli(flags, { env: { ...env, AEGIS_TOKEN: bound } });
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("names no agent") as string });
    const gateway = await startRemoteGateway(place, flags, { ...env, AEGIS_TOKEN: gate });
    const client = await RawHttp.connect({ kind: "http", url: `${gateway.url}/fake`, token: bound });
    const canary = fresh();
    expect((await client.call("echo", { args: { canary } }).answer).result?.isError ?? false).toBe(false);
    await client.close();

    const { id, token } = await backend.makeToken("brief", "agent", "brief");
    const brief = await RawHttp.connect({ kind: "http", url: `${gateway.url}/fake`, token });
    expect((await brief.call("echo", { args: { canary: fresh() } }).answer).error).toBeUndefined();
    await backend.ask("POST", `/v1/tokens/${id}/revoke`, {});
    await eventually(
      "the end of what was opened with it",
      async () => ((await brief.post('{"jsonrpc":"2.0","id":9,"method":"ping"}')) === 401 ? true : undefined),
      2000,
    );

    const unknown = await fetch(`${gateway.url}/fake`, {
      method: "POST",
      headers: { authorization: "Bearer aegis_nonsense", "content-type": "application/json" },
      body: "{}",
    });
    expect(unknown.status).toBe(401);
    await gateway.stop();
    const decision = (await records()).find((each) => JSON.stringify(each.arguments ?? "").includes(canary));
    expect(decision).toMatchObject({ agent: "bot", principal: "bot-token" });
    expect(() => readFileSync(join(gatewayHome(place), "gateway.token"))).toThrow("ENOENT");
  });
});
