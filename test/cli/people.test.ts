import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { visible } from "../../src/visible.js";
import type { McpClient } from "../fixtures/clients.js";
import { type Finished, jsonLines, main, makePlace, type Place, wrapClient } from "../fixtures/gateway.js";
import { endChild } from "../fixtures/process.js";
import { fakeServer } from "../fixtures/servers.js";

const policy = "agent: tester\ndefault: block\nallow: [fake__echo]\nreview: [fake__pay]\n";

let place: Place;
let client: McpClient;
beforeAll(async () => {
  place = makePlace({ "tester.yaml": policy });
  client = await wrapClient(place, "v1", fakeServer());
  await client.call("echo", { said: "\u202egnihton" });
});
afterAll(async () => {
  await client.close();
  place.remove();
});

/** Whether something in the output would not be seen, or would move the cursor. */
const hides = (output: string): boolean => output.split("\n").some((line) => visible(line) !== line);

const run = (...args: string[]): Promise<Finished> => place.cli(args);

interface Shown {
  readonly id: number;
  readonly status: string;
  readonly [member: string]: unknown;
}

/** Makes a call that is held, and waits until people see it. */
async function held(args: Record<string, unknown>): Promise<{ id: number; answer: Promise<unknown> }> {
  const answer = client.call("pay", args);
  for (;;) {
    const found = jsonLines<Shown>((await run("approvals", "--json")).stdout).at(-1);
    if (found) return { id: found.id, answer };
    await delay(50);
  }
}

const followers: ChildProcess[] = [];
afterEach(async () => {
  await Promise.all(followers.splice(0).map(endChild));
});

/** A command that goes on until it is interrupted, and what it printed so far. */
function following(...args: string[]): {
  child: ChildProcess;
  said: () => string;
  until: (text: string) => Promise<void>;
} {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, AEGIS_HOME: place.home },
    stdio: ["ignore", "pipe", "inherit"],
  });
  followers.push(child);
  let said = "";
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  const until = async (text: string): Promise<void> => {
    for (let waited = 0; !said.includes(text); waited += 20) {
      if (waited > 8000) throw new Error(`${text} was not printed: ${said}`);
      await delay(20);
    }
  };
  return { child, said: () => said, until };
}

async function interrupted(child: ChildProcess): Promise<number | null> {
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  child.kill("SIGINT");
  return ended;
}

describe("approvals", () => {
  it("are shown whole, told apart from their text, and decided once", async () => {
    const { id, answer } = await held({ amount: 5, to: "a\u202eb\u009b2J", note: "x".repeat(3000) });
    const text = await run("approvals");
    expect(text.stdout).toContain(`#${id}  pending  fake__pay  by agent tester`);
    expect(text.stdout).toContain('"to": "a\\u202eb\\x9b2J"');
    expect(text.stdout).toContain("x".repeat(3000));
    expect(hides(text.stdout)).toBe(false);

    const json = await run("approvals", "--json");
    expect(hides(json.stdout)).toBe(false);
    expect(jsonLines<Shown>(json.stdout)).toEqual([
      expect.objectContaining({
        id,
        agent: "tester",
        action: "fake__pay",
        server: "fake",
        tool: "pay",
        arguments: { amount: 5, to: "a\u202eb\u009b2J", note: "x".repeat(3000) },
        status: "pending",
        waiting: true,
        created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
        expires_at: expect.stringMatching(/Z$/),
      }),
    ]);

    const results = await Promise.all([
      run("approve", String(id), "--reason", "fine"),
      run("deny", String(id), "--reason", "no"),
    ]);
    expect(results.map(({ code }) => code)).toEqual(expect.arrayContaining([0, 1]));
    const [won, lost] = results[0].code === 0 ? results : results.toReversed();
    expect(won?.stdout).toMatch(new RegExp(`^(Approved|Denied) #${id}, fake__pay by agent tester: `));
    expect(lost?.stdout).toBe("");
    expect(lost?.stderr).toMatch(/was (approved|denied) by os:.*; nothing was changed/);
    await answer;
    expect((await run("approvals")).stdout).toBe("Nothing waits for a decision.\n");
    expect((await run("approvals", "--all")).stdout).toContain(`#${id}  `);
  });

  it("that do not exist are an error with a hint", async () => {
    for (const name of ["approve", "deny"]) {
      expect(await run(name, "4711")).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringMatching(/4711[\s\S]*aegis approvals/),
      });
    }
  });

  it("appear and end under --watch until it is interrupted", async () => {
    const watch = following("approvals", "--watch", "--json");
    const { id, answer } = await held({ amount: 6, to: "c" });
    await watch.until(`"id":${id},`);
    const denied = await run("deny", String(id), "--json");
    expect(JSON.parse(denied.stdout)).toMatchObject({ id, status: "denied" });
    await watch.until('"status":"denied"');
    expect(await interrupted(watch.child)).toBe(0);
    expect(jsonLines<Shown>(watch.said()).map((shown) => [shown.id, shown.status])).toEqual([
      [id, "pending"],
      [id, "denied"],
    ]);
    await answer;
  });
});

describe("log", () => {
  it("prints records as JSON lines and as text, without colour or foreign control characters when piped", async () => {
    const json = await run("log", "tester", "--json", "--limit", "1000");
    const records = jsonLines<Record<string, unknown>>(json.stdout);
    const ids = records.map(({ id }) => id as number);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    expect(records.find(({ kind }) => kind === "decision")).toMatchObject({
      id: expect.any(Number),
      at: expect.stringMatching(/Z$/),
      agent: "tester",
      action: "fake__echo",
      decision: "ALLOW",
      rule: "tester.yaml:3 allow fake__echo",
      reason: expect.any(String),
    });
    const text = await run("logs", "--limit", "1000");
    expect(text.stdout).toContain("fake__echo");
    expect(hides(text.stdout + json.stdout)).toBe(false);
    expect(text.stdout.trim().split("\n").length).toBeGreaterThanOrEqual(records.length);
    expect((await run("log", "--limit", "1")).stdout.trim().split("\n")).toHaveLength(1);
  });

  it("--follow prints what is decided elsewhere, and ends with 0 when interrupted", async () => {
    const follow = following("log", "tester", "--follow", "--limit", "1", "--json");
    await follow.until("\n");
    await client.call("delete_file", { path: "followed" });
    await follow.until('"decision":"BLOCK"');
    expect(await interrupted(follow.child)).toBe(0);
    const ids = jsonLines<Shown>(follow.said()).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("--follow ends without a word when its reader is gone", async () => {
    const follow = following("log", "--follow", "--limit", "1");
    await follow.until("\n");
    const ended = new Promise<[number | null, string | null]>((resolve) =>
      follow.child.once("exit", (code, signal) => resolve([code, signal])),
    );
    follow.child.stdout?.destroy();
    await client.call("echo", {});
    expect(await ended).toEqual([0, null]);
  });

  it("of an agent nobody has seen is an error with a hint", async () => {
    expect(await run("log", "testr")).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("Did you mean tester?"),
    });
  });
});

describe("kill and revive", () => {
  it("stop an agent and let it go on, and say who was reached", async () => {
    const killed = await run("kill", "tester", "--reason", "enough", "--json");
    expect(killed).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(killed.stdout)).toMatchObject({
      agent: "tester",
      status: "KILLED",
      already: false,
      confirmed: 1,
      gateways: [{ confirmed: true, pid: expect.any(Number) }],
      backend: expect.stringContaining(place.home),
    });
    expect(await client.call("echo", {})).toMatchObject({ isError: true });
    expect((await run("kill", "tester")).stdout).toContain("tester was already killed.");

    const status = await run("status", "tester", "--json");
    expect(JSON.parse(status.stdout)).toMatchObject({
      name: "tester",
      status: "KILLED",
      killed: { reason: "enough", by: expect.stringMatching(/^os:/) },
    });
    expect((await run("status")).stdout).toMatch(
      /AGENT +STATUS[\s\S]*tester +KILLED[\s\S]*Live gateway: wrap fake/,
    );

    expect(await run("revive", "tester", "--reason", "checked")).toMatchObject({ code: 0 });
    // Unlike a kill, a revival is not waited for: the gateway hears of it at its next look.
    await expect.poll(async () => (await client.call("echo", {})).isError === true).toBe(false);
    expect(jsonLines((await run("status", "--json")).stdout)).toEqual([
      expect.objectContaining({ name: "tester", status: "ACTIVE", killed: null, held: expect.any(Number) }),
    ]);
  });

  it.each([["kill"], ["revive"], ["status"]])("%s of an agent nobody has seen is an error", async (name) => {
    const { code, stdout, stderr } = await run(name, "testr");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^aegis: .*testr.*\n {2}\S/);
  });
});

it("audit verify says that the ledger holds", async () => {
  const json = await run("audit", "verify", "--json");
  expect(json.code).toBe(0);
  expect(JSON.parse(json.stdout)).toMatchObject({
    ok: true,
    broken: null,
    head: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
  expect((await run("audit", "verify")).stdout).toMatch(/^The ledger holds: \d+ records/);
});
