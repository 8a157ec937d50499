import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Principal } from "../../src/client/backend.js";
import { parsePolicy, policySet } from "../../src/policy/file/load.js";
import { type Governed, govern } from "../fixtures/backend/governed.js";
import { type Place, stores } from "../fixtures/backend/places.js";
import { agent, person } from "../fixtures/backend/store.js";

const by: Principal = { name: "sdk", role: "agent", agent, groups: [], token: null };
const policy = `
default: block
review:
  - { action: sdk__send, when: 'args.to == "ann"' }
  - sdk__pay
limits: [{ action: sdk__pay, calls: 1, per: 1h }]
`;
let place: Place;
let governed: Governed;

beforeEach(async () => {
  const [store] = stores;
  if (store === undefined) throw new Error("no store was chosen");
  place = await store.make();
  governed = await govern(place, policy);
});
afterEach(async () => {
  await governed.backend.close();
  await place.remove();
});

test("a condition on what an SDK's agent asks sees the arguments; before they are known a person is asked", async () => {
  const { backend } = governed;
  expect(await backend.ruleOf(agent, "send")).toBe("REVIEW");
  const ask = async (args: string) =>
    (await backend.approval(await backend.requestApproval(agent, "send", args, by))).status;
  expect(await ask('{"to":"ann"}')).toBe("pending");
  expect(await ask('{"to":"bob"}')).toBe("void");
  expect(await ask('{"cc":"ann"}')).toBe("void");
  expect(await ask("no JSON")).toBe("void");
});

test("a limit holds an approval back until there is room: it is not lost", async () => {
  const { backend } = governed;
  const ids: number[] = [];
  for (const n of [1, 2]) {
    const id = await backend.requestApproval(agent, "pay", `{"n":${n}}`, by);
    await backend.decideApproval(id, "approved", person(), "");
    ids.push(id);
  }
  const [first = 0, second = 0] = ids;
  expect(await backend.pollApproval(first, by)).toBe("consumed");
  expect(await backend.pollApproval(second, by)).toBe("pending");
  await place.sql("DELETE FROM call_counts");
  expect(await backend.pollApproval(second, by)).toBe("consumed");
});

describe("what an SDK is told ahead of a call", () => {
  const more = `
default: allow
allow:
  - { action: sdk__open, when: 'args.n < 5' }
  - { action: sdk__often, when: 'calls.hour < 2' }
  - { action: sdk__plain, when: 'agent != "x"' }
limits: [{ action: sdk__limited, calls: 1, per: 1h }]
servers: { allow: [{ host: "api.github.com", action: sdk__fetch }] }
data:
  - { detect: secrets, then: redact, in: arguments, action: sdk__say }
  - { detect: secrets, then: redact, in: results, action: sdk__hear }
block: [sdk__never]
review: [sdk__ask]
`;

  test.each([
    ["limited", "REVIEW"],
    ["fetch", "REVIEW"],
    ["say", "REVIEW"],
    ["open", "REVIEW"],
    ["often", "REVIEW"],
    ["plain", "ALLOW"],
    ["hear", "ALLOW"],
    ["other", "ALLOW"],
    ["ask", "REVIEW"],
    ["never", "BLOCK"],
  ])("of %s is %s: an ALLOW asks nobody any more", async (action, rule) => {
    await governed.backend.close();
    governed = await govern(place, more);
    expect(await governed.backend.ruleOf(agent, action)).toBe(rule);
  });
});

describe("the arguments of an SDK's agent", () => {
  const token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
  const card = "4111 1111 1111 1111";
  const ruled = `
default: review
servers: { block: ["*.internal"] }
data:
  - { detect: secrets, then: redact, in: arguments }
  - { detect: card_numbers, then: block, in: arguments }
  - { detect: custom, name: ticket, pattern: 'TCK-[0-9]+', then: redact, in: arguments }
  - { detect: custom, name: number, pattern: 'N-[0-9]+', then: block, in: arguments, shadow: true }
`;
  const ask = async (args: string, action = "send") => {
    const id = await governed.backend.requestApproval(agent, action, args, by);
    const records = await governed.backend.records({ limit: 10, kinds: ["decision"] });
    return { id, status: (await governed.backend.approval(id)).status, record: records.at(-1) };
  };
  const without = (text: string) => ruled.replace(/servers: .*\n/, "").replace("review", text);
  const reopen = async (text: string): Promise<void> => {
    await governed.backend.close();
    governed = await govern(place, text);
  };

  beforeEach(() => reopen(ruled));

  test("are held against hosts, also where they are no JSON", async () => {
    expect((await ask('{"url":"https://db.internal/x"}')).status).toBe("void");
    expect((await ask('{"url":"https://example.com/x"}')).status).toBe("pending");
    const { status, record } = await ask("{'url': 'https://db.internal/x'}");
    expect(status).toBe("void");
    expect(record).toMatchObject({ decision: "BLOCK", reason: expect.stringContaining("no JSON") });
    await reopen(without("review"));
    expect((await ask("{'url': 'https://db.internal/x'}")).status).toBe("pending");
  });

  test.each([
    ["JSON", (text: string) => JSON.stringify({ text })],
    ["no JSON", (text: string) => `send: ${text}`],
  ])("are held against data rules (%s): the record holds what was found, and not the data", async (_, of) => {
    await reopen(without("review"));
    expect(await ask(of(card))).toMatchObject({
      status: "void",
      record: { decision: "BLOCK", findings: "card_numbers in arguments: blocked" },
    });
    const { id, status, record } = await ask(of(`${token} and TCK-77`));
    expect(status).toBe("pending");
    expect(record).toMatchObject({
      decision: "REVIEW",
      findings: "secrets in arguments: redacted; ticket in arguments: redacted",
    });
    expect(JSON.stringify(record)).not.toContain("TCK-77");
    // Whoever decides sees what will run.
    expect((await governed.backend.approval(id)).arguments).toBe(of(`${token} and TCK-77`));
    expect((await governed.backend.approval(id)).redacted).not.toContain("TCK-77");
    expect((await ask(of("nothing"))).record).not.toHaveProperty("findings");
    expect((await ask(of("N-12"))).record).toMatchObject({
      decision: "REVIEW",
      shadow: expect.stringMatching(/^BLOCK claude\.yaml:\d+ data number/),
    });
  });

  test("are held against the rules of that moment when the answer is picked up", async () => {
    const { id } = await ask(`{"text":"${card}"}`.replace(card, "TCK-1"));
    await governed.backend.decideApproval(id, "approved", person(), "");
    const text = `agent: claude-*\n${ruled.replace("then: redact, in: arguments }\n  - { detect: custom, name: number", "then: block, in: arguments }\n  - { detect: custom, name: number")}`;
    await governed.backend.adoptPolicies(
      policySet([parsePolicy(text, "claude.yaml", { bareNames: false })]),
      person(),
    );
    expect(await governed.backend.pollApproval(id, by)).toBe("void");
  });

  test("that nobody can search are refused, and not written down", async () => {
    const keys = Array.from({ length: 300 }, (_, n) => `"TCK-${n}":1`).join();
    const { status, record } = await ask(`{${keys}}`);
    expect(status).toBe("void");
    expect(record).toMatchObject({ decision: "BLOCK", reason: expect.stringMatching(/^policy_error/) });
    expect(record?.arguments).toBe('"[redacted]"');
  });
});
