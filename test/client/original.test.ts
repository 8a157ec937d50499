/** Our gateway's side of the original contract, whose holes it must not fall into. */
import pino from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readAddress } from "../../src/client/address.js";
import type { BackendEvent, Intent, Outcome, Principal } from "../../src/client/backend.js";
import { OriginalBackend } from "../../src/client/original.js";
import { Requests } from "../../src/client/requests.js";
import { OriginalServer } from "../fixtures/original-backend.js";
import { eventually } from "../fixtures/person.js";

const log = pino({ level: "silent" });
const someone: Principal = { name: "os:someone", role: "admin", agent: null, groups: [], token: null };

let server: OriginalServer;
let backend: OriginalBackend;
let heard: BackendEvent[];
let calls = 0;

function open(holdExpires = 60_000): OriginalBackend {
  const opened = new OriginalBackend(new Requests(readAddress(server.url, "test", null)), holdExpires, log);
  opened.subscribe((event) => {
    heard.push(event);
  });
  return opened;
}

function intent(given: Partial<Intent> = {}): Intent {
  return {
    call: `gw-${++calls}`,
    gateway: "gw",
    agent: "bot",
    principal: "agent:bot",
    server: "files",
    tool: "read",
    action: "files__read",
    definition: "0".repeat(64),
    arguments: '{"path":"/a","n":9007199254740993}',
    parsed: {},
    ...given,
  };
}

function ended(
  { call, agent, principal, server: key, tool, action }: Intent,
  outcome: Outcome["outcome"],
): Outcome {
  return { call, agent, principal, server: key, tool, action, outcome, duration: 1 };
}

/** A REVIEW that waits, its approval already decided by a person. */
async function held(given: Partial<Intent> = {}): Promise<{ asked: Intent; id: number }> {
  const asked = intent(given);
  const verdict = await backend.decide(asked);
  if (verdict.approval === undefined) throw new Error("not held");
  return { asked, id: verdict.approval.id };
}

/** Keeps back the first answer of the kind until it is released. */
function gate(kind: (request: { path: string }) => boolean): {
  closed: () => Promise<void>;
  release: () => void;
} {
  let release = (): void => {};
  let shut = false;
  const opened = new Promise<void>((resolve) => {
    release = resolve;
  });
  server.slow = (request) => {
    if (shut || !kind(request)) return undefined;
    shut = true;
    return opened;
  };
  const closed = async (): Promise<void> => {
    await eventually("an answer that is kept back", () => shut || undefined);
  };
  return { closed, release };
}

beforeEach(async () => {
  server = await OriginalServer.start();
  server.agents.set("bot", "ACTIVE");
  heard = [];
  backend = open();
  await backend.ensureAgent("bot");
});
afterEach(async () => {
  await backend.close();
  await server.stop();
});

describe("a decision", () => {
  it("asks for the agent, then the policy, then writes ALLOWED before it allows; the outcome comes behind it", async () => {
    server.policy("bot", "files__read", "ALLOW");
    server.asked.length = 0;
    const asked = intent();
    const before = performance.now();
    const verdict = await backend.decide(asked);
    expect(verdict).toMatchObject({ call: asked.call, decision: "ALLOW" });
    expect(server.asked).toEqual([
      "GET /sdk/agent-status/bot",
      "GET /sdk/policy/bot/files__read",
      "POST /sdk/log",
    ]);
    expect(verdict.leaseUntil).toBeGreaterThanOrEqual(before);
    expect(verdict.leaseUntil).toBeLessThanOrEqual(performance.now() + 2000);
    backend.outcome(ended(asked, "ok"));
    await eventually("the outcome", () => (server.log.length === 2 ? true : undefined));
    expect(server.statuses("files__read")).toEqual(["ALLOWED", "COMPLETED"]);
  });

  it.each([
    ["unknown", "UNKNOWN"],
    ["tool_error", "FAILED"],
  ] as const)("calls the outcome %s %s", async (outcome, word) => {
    server.policy("bot", "files__read", "ALLOW");
    const asked = intent();
    await backend.decide(asked);
    backend.outcome(ended(asked, outcome));
    await eventually("the outcome", () => server.statuses("files__read")[1]);
    expect(server.statuses("files__read")[1]).toBe(word);
  });

  it("allows nothing that could not be written down, and does again once it can (L2)", async () => {
    server.policy("bot", "files__read", "ALLOW");
    server.fault = ({ path }) => (path === "/sdk/log" ? { status: 500, body: "{}" } : undefined);
    await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
    server.fault = () => undefined;
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
  });

  it("blocks what the policy blocks, and says by which rule", async () => {
    server.policy("bot", "files__read", "BLOCK");
    expect(await backend.decide(intent())).toMatchObject({
      decision: "BLOCK",
      rule: "bot: BLOCK files__read",
    });
    expect(server.statuses("files__read")).toEqual(["BLOCKED"]);
  });

  it.each(["allow", "ALLOW ", "true", "", "BLOCKED"])(
    "denies on the rule %j, which is none",
    async (rule) => {
      server.policy("bot", "files__read", rule);
      await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
      expect(server.log).toEqual([]);
    },
  );

  it.each(["paused", "KILLED", "", "ACTIVE "])(
    "denies on the status %j, which is none (Z14)",
    async (status) => {
      server.policy("bot", "files__read", "ALLOW");
      server.agents.set("bot", status);
      await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
      server.agents.set("bot", "ACTIVE");
      expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
    },
  );

  it("refuses within the deadline where the backend hangs, and allows again when it is back", async () => {
    server.policy("bot", "files__read", "ALLOW");
    server.fault = ({ path }) => (path.startsWith("/sdk/policy") ? "hang" : undefined);
    const began = performance.now();
    await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
    expect(performance.now() - began).toBeLessThan(2300);
    server.fault = () => undefined;
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
  });

  it("carries names in the path so that they stay one segment, and refuses those that cannot (Z20)", async () => {
    await backend.ensureAgent("a b?c#d%2e");
    server.policy("a b?c#d%2e", "files__read", "ALLOW");
    expect(await backend.decide(intent({ agent: "a b?c#d%2e" }))).toMatchObject({ decision: "ALLOW" });
    server.asked.length = 0;
    for (const agent of ["..", ".", "../policy/bot", "x/../bot", "..\\x"]) {
      await expect(backend.ensureAgent(agent)).rejects.toMatchObject({ code: "usage" });
      await expect(backend.decide(intent({ agent }))).rejects.toMatchObject({ code: "usage" });
    }
    await expect(backend.decide(intent({ action: ".." }))).rejects.toMatchObject({ code: "usage" });
    expect(server.asked.filter((line) => line.includes(".."))).toEqual([]);
  });
});

describe("an approval", () => {
  it("is asked with the exact arguments, awaited, and covers one call once", async () => {
    const { asked, id } = await held();
    expect(server.approvals.get(id)?.args_json).toBe(asked.arguments);
    expect(server.statuses("files__read")).toEqual(["PENDING"]);
    server.decide(id, "APPROVED");
    await eventually("the news", () => heard.find((event) => event.kind === "approval"));
    expect(heard).toContainEqual({ kind: "approval", id, status: "approved" });
    expect(await backend.release(asked, id)).toMatchObject({ decision: "ALLOW" });
    expect(server.statuses("files__read")).toEqual(["PENDING", "ALLOWED"]);
    expect(await backend.release(asked, id)).toMatchObject({ decision: "BLOCK" });
    expect(await backend.release(intent(), id)).toMatchObject({ decision: "BLOCK" });
    expect((await backend.decide(intent())).approval?.id).not.toBe(id);
  });

  it.each([
    ["other arguments", { arguments: '{"path":"/b"}' }],
    ["another tool", { tool: "write", action: "files__write" }],
    ["another definition", { definition: "1".repeat(64) }],
    ["another principal", { principal: "agent:other" }],
  ])("is not for %s (Z1)", async (_what, given) => {
    const { asked, id } = await held();
    // Nobody waits on it any more: only what it was given for is in the way.
    await backend.detachWaiter(id, asked.call);
    server.decide(id, "APPROVED");
    expect(await backend.release(intent(given), id)).toMatchObject({ decision: "BLOCK" });
    expect(server.log.some(({ status }) => status === "ALLOWED")).toBe(false);
  });

  it("is never looked up by agent and action, which finds those of other calls", async () => {
    await held();
    await held({ arguments: "{}" });
    expect(server.asked.some((line) => line.includes("find-approval") || line.includes("/sdk/init"))).toBe(
      false,
    );
  });

  it("waits for the repeat of the call when its caller is gone, for that alone", async () => {
    const { asked, id } = await held();
    const other = await backend.decide(intent());
    expect(other.approval?.id).not.toBe(id);
    await backend.detachWaiter(id, asked.call);
    server.decide(id, "APPROVED");
    const repeat = intent();
    expect((await backend.decide(repeat)).approval).toMatchObject({ id, status: "approved" });
    expect(await backend.release(repeat, id)).toMatchObject({ decision: "ALLOW" });
  });

  it("is found by the repeat of a call that was refused because it could not be written down", async () => {
    server.fault = ({ path }) => (path === "/sdk/log" ? { status: 500, body: "{}" } : undefined);
    await expect(backend.decide(intent())).rejects.toMatchObject({ code: "backend_unavailable" });
    server.fault = () => undefined;
    expect((await backend.decide(intent())).approval).toMatchObject({ id: 1 });
  });

  it("does not help against a policy that blocks now, or a kill (Z15)", async () => {
    const { asked, id } = await held();
    server.decide(id, "APPROVED");
    server.policy("bot", "files__read", "BLOCK");
    expect(await backend.release(asked, id)).toMatchObject({ decision: "BLOCK" });
    server.policies.clear();
    expect(await backend.release(asked, id)).toMatchObject({ decision: "BLOCK" });
    const second = await held();
    server.decide(second.id, "APPROVED");
    server.agents.set("bot", "PAUSED");
    expect(await backend.release(second.asked, second.id)).toMatchObject({ decision: "KILLED" });
  });

  it("is void where the numbers of the backend begin again: what is approved there is another's (Z11)", async () => {
    await held();
    const { asked, id } = await held();
    server.wipe();
    server.agents.set("bot", "ACTIVE");
    expect((await held({ arguments: "{}" })).id).toBeLessThan(id);
    const foreign = { agent_name: "somebody", action: "files__read" };
    await fetch(`${server.url}/sdk/approval`, { method: "POST", body: JSON.stringify(foreign) });
    server.decide(id, "APPROVED");
    expect(server.approvals.get(id)).toMatchObject({ agent_name: "somebody", status: "APPROVED" });
    expect(await backend.release(asked, id)).toMatchObject({ decision: "BLOCK" });
  });

  it("stays its call's where two are asked for at once and the later number comes first", async () => {
    const { closed, release } = gate(({ path }) => path === "/sdk/approval");
    const one = backend.decide(intent());
    await closed();
    const two = await held({ arguments: '{"path":"/b"}' });
    release();
    expect(two.id).toBe(2);
    expect((await one).approval?.id).toBe(1);
    server.decide(two.id, "APPROVED");
    expect(await backend.release(two.asked, two.id)).toMatchObject({ decision: "ALLOW" });
  });

  it("is void where its number comes again, however early the other was asked for (Z11)", async () => {
    const { closed, release } = gate(({ path }) => path === "/sdk/approval");
    const other = intent({ arguments: '{"path":"/b"}' });
    const late = backend.decide(other);
    await closed();
    server.wipe();
    server.agents.set("bot", "ACTIVE");
    const { asked, id } = await held();
    release();
    // Which of two stores gave either its number is not known: neither may have what a person says to the other.
    expect((await late).approval?.id).not.toBe(id);
    server.decide(id, "APPROVED");
    expect(await backend.release(asked, id)).toMatchObject({ decision: "BLOCK" });
    expect(await backend.release(other, id)).toMatchObject({ decision: "BLOCK" });
  });

  it("whose answer was slow is asked for again where the store began again meanwhile (Z11)", async () => {
    await held();
    const { closed, release } = gate(({ path }) => path === "/sdk/approval");
    const other = intent({ arguments: '{"path":"/b"}' });
    const late = backend.decide(other);
    await closed();
    server.wipe();
    server.agents.set("bot", "ACTIVE");
    expect((await held()).id).toBe(1);
    release();
    const { approval } = await late;
    expect([...server.approvals.values()].filter(({ id }) => id === approval?.id)).toMatchObject([
      { args_json: other.arguments },
    ]);
  });

  it("of a store that has begun again is its call's, also where several were asked for at once", async () => {
    await held();
    await held();
    server.wipe();
    server.agents.set("bot", "ACTIVE");
    const { closed, release } = gate(({ path }) => path === "/sdk/approval");
    const one = backend.decide(intent());
    await closed();
    const two = await held({ arguments: '{"path":"/b"}' });
    release();
    const last = (await one).approval?.id ?? 0;
    expect(last).not.toBe(two.id);
    server.decide(two.id, "APPROVED");
    expect(await backend.release(two.asked, two.id)).toMatchObject({ decision: "ALLOW" });
  });

  it("expires here, whatever is decided there", async () => {
    await backend.close();
    backend = open(50);
    await backend.ensureAgent("bot");
    const { asked, id } = await held();
    await new Promise((resolve) => setTimeout(resolve, 60));
    server.decide(id, "APPROVED");
    expect(await backend.release(asked, id)).toMatchObject({ decision: "BLOCK" });
  });

  it("that has a status which is none refuses (Z5)", async () => {
    const { asked, id } = await held();
    server.decide(id, "banana");
    await expect(backend.release(asked, id)).rejects.toMatchObject({ code: "backend_unavailable" });
    server.decide(id, "APPROVED");
    expect(await backend.release(asked, id)).toMatchObject({ decision: "ALLOW" });
  });

  it("is decided by a person only while it is pending", async () => {
    const { id } = await held();
    expect(await backend.decideApproval(id, "denied", someone)).toMatchObject({ status: "denied" });
    await expect(backend.decideApproval(id, "approved", someone)).rejects.toMatchObject({
      code: "approval_settled",
    });
    await expect(backend.decideApproval(99, "approved", someone)).rejects.toMatchObject({
      code: "unknown_approval",
    });
    expect(server.approvals.get(id)?.status).toBe("DENIED");
  });
});

describe("a kill", () => {
  it("is latched: registering again does not end it, ACTIVE does (Z13)", async () => {
    server.policy("bot", "files__read", "ALLOW");
    server.agents.set("bot", "PAUSED");
    expect(await backend.decide(intent())).toMatchObject({ decision: "KILLED" });
    expect(server.statuses("files__read")).toEqual(["KILLED"]);
    server.agents.set("bot", "REGISTERED");
    expect(await backend.decide(intent())).toMatchObject({ decision: "KILLED" });
    server.agents.delete("bot");
    expect(await backend.decide(intent())).toMatchObject({ decision: "KILLED" });
    server.agents.set("bot", "ACTIVE");
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
    expect(heard).toEqual([
      { kind: "kill", agent: "bot" },
      { kind: "revive", agent: "bot" },
    ]);
  });

  it("is ended by a person for the gateways too that saw it before the agent registered again", async () => {
    server.policy("bot", "files__read", "ALLOW");
    const elsewhere = open();
    server.agents.set("bot", "PAUSED");
    await backend.decide(intent());
    server.agents.set("bot", "REGISTERED");
    await elsewhere.revive("bot", someone, "");
    await elsewhere.close();
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
  });

  it("is noticed while a call runs", async () => {
    server.policy("bot", "files__read", "ALLOW");
    await backend.attach({ pid: 1, label: "test", address: null });
    await backend.decide(intent());
    server.agents.set("bot", "PAUSED");
    await eventually("the kill", () => heard.find(({ kind }) => kind === "kill"), 1500);
  });

  it("is read back, and of an agent that is unknown an error (Z14)", async () => {
    expect(await backend.kill("bot", someone, "why")).toMatchObject({ already: false, gateways: [] });
    expect(server.agents.get("bot")).toBe("PAUSED");
    expect(await backend.kill("bot", someone, "")).toMatchObject({ already: true });
    await expect(backend.kill("bto", someone, "")).rejects.toMatchObject({
      code: "unknown_agent",
      hint: "Did you mean bot?",
    });
    await backend.revive("bot", someone, "");
    expect(server.agents.get("bot")).toBe("ACTIVE");
    server.fault = ({ path }) =>
      path === "/sdk/update-status" ? { status: 200, body: '{"status":"ok"}' } : undefined;
    await expect(backend.kill("bot", someone, "")).rejects.toMatchObject({ code: "backend_unavailable" });
  });
});

describe("an answer about an agent that was slow", () => {
  it("does not undo a kill that was seen meanwhile", async () => {
    server.policy("bot", "files__read", "ALLOW");
    const { closed, release } = gate(({ path }) => path.startsWith("/sdk/agent-status"));
    const slow = backend.decide(intent());
    await closed();
    server.agents.set("bot", "PAUSED");
    expect(await backend.decide(intent())).toMatchObject({ decision: "KILLED" });
    server.agents.set("bot", "REGISTERED");
    release();
    expect(await slow).toMatchObject({ decision: "KILLED" });
    expect(heard).toEqual([{ kind: "kill", agent: "bot" }]);
  });

  it("does not bring a kill back that has ended, but refuses its own call", async () => {
    server.policy("bot", "files__read", "ALLOW");
    server.agents.set("bot", "PAUSED");
    const { closed, release } = gate(({ path }) => path.startsWith("/sdk/agent-status"));
    const slow = backend.decide(intent());
    await closed();
    server.agents.set("bot", "ACTIVE");
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
    release();
    expect(await slow).toMatchObject({ decision: "KILLED" });
    expect(heard).toEqual([]);
    expect(await backend.decide(intent())).toMatchObject({ decision: "ALLOW" });
  });
});

describe("an agent", () => {
  it("is registered only where it has no status: registering would undo a kill", async () => {
    server.agents.set("sleeper", "PAUSED");
    await backend.ensureAgent("sleeper");
    await backend.ensureAgent("fresh");
    expect(server.agents.get("sleeper")).toBe("PAUSED");
    expect(server.agents.get("fresh")).toBe("REGISTERED");
    expect(server.asked.filter((line) => line.includes("register-agent"))).toHaveLength(1);
    expect(heard).toEqual([{ kind: "kill", agent: "sleeper" }]);
  });

  it("whose status is none that is known is shown as stopped", async () => {
    server.agents.set("odd", "paused");
    const agents = await backend.agents();
    expect(agents.find(({ name }) => name === "odd")).toMatchObject({ status: "KILLED" });
    expect(agents.find(({ name }) => name === "bot")).toMatchObject({ status: "ACTIVE" });
  });
});

it("says of what the original cannot do that it cannot", async () => {
  for (const asked of [backend.verify(), backend.tokens(), backend.createToken(), backend.authenticate()])
    await expect(asked).rejects.toMatchObject({ code: "backend_unsupported" });
});

it("shows the original's log as records", async () => {
  server.policy("bot", "files__read", "ALLOW");
  await backend.decide(intent());
  await backend.decide(intent());
  const records = await backend.records({ agent: "bot", limit: 10 });
  expect(records).toMatchObject([
    { id: 1, kind: "log", agent: "bot", action: "files__read", decision: "ALLOWED" },
    { id: 2 },
  ]);
  expect(await backend.records({ limit: 10, after: 1 })).toHaveLength(1);
});
