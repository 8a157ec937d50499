/** Data rules from a policy file to what a server gets and a client sees: real gateway, server and clients. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectClient, type McpClient } from "../fixtures/clients.js";
import { type HttpGateway, makePlace, startHttpGateway } from "../fixtures/gateway.js";
import { type Execution, readLedger } from "../fixtures/ledger.js";
import { openPerson, type Person } from "../fixtures/person.js";
import { RawHttp, refusalIn, textOf } from "../fixtures/raw.js";
import { fakeServer } from "../fixtures/servers.js";

const policy = `agent: tester
default: block
allow:
  - fake__echo
  - { action: fake__odd, when: 'client.name == "raw"' }
data:
  - { detect: card_numbers, then: redact, in: arguments }
  - { detect: secrets, then: block, in: results }
  - { detect: custom, name: ticket, pattern: 'TCK-[0-9]+', then: redact, in: results }
  - { detect: national_ids, then: review, in: results, reason: Papers of people }
`;
const place = makePlace({ "tester.yaml": policy });
const [command, ...args] = fakeServer();
const SECRET = "AKIAIOSFODNN7EXAMPLE";
const CARD = "4111 1111 1111 1111";
const SSN = "219-09-9998";

let gateway: HttpGateway;
let person: Person;
let client: RawHttp;
let sdk: McpClient;
const runs = (canary: string): Execution[] =>
  readLedger(place.ledger).executions.filter((run) => run.arguments.includes(canary));

beforeAll(async () => {
  gateway = await startHttpGateway(place, {
    agent: "tester",
    policies: "./policies",
    servers: { fake: { command, args, env: { LEDGER: place.ledger } } },
    hold: { wait: "20s" },
  });
  person = await openPerson(place);
  const way = { kind: "http", url: gateway.url, token: gateway.token } as const;
  client = await RawHttp.connect(way);
  sdk = await connectClient("v2", way);
});
afterAll(async () => {
  await sdk?.close();
  await client?.close();
  await person?.leave();
  await gateway?.stop();
  place.remove();
});

describe("data rules", () => {
  it("redact the arguments that the server gets, and nothing beside them (threat P20)", async () => {
    const written = `{"canary":"data-1","n":9007199254740993,"one":1.0,"card":"pay ${CARD} \\u0026"}`;
    await client.call("fake__echo", { args: written }).answer;
    expect(runs("data-1").map((run) => run.arguments)).toEqual([written.replace(CARD, "[card_numbers]")]);
  });

  it("withhold a result, and say that the call ran", async () => {
    const said = await sdk.call("fake__echo", { canary: "data-2", key: SECRET });
    expect(said.isError).toBe(true);
    expect(said.content?.[0]?.text).toMatch(/^Withheld: fake__echo was run/);
    expect(JSON.stringify(said)).not.toContain(SECRET);
    expect(runs("data-2")).toHaveLength(1);
    const outcome = await person.outcome("data-2");
    expect(outcome).toMatchObject({
      outcome: "ok",
      reason: expect.stringContaining("secrets in the result") as string,
    });
  });

  it("redact a result, in its text and its structured content", async () => {
    const said = await sdk.call("fake__echo", { canary: "data-3", "TCK-12": "see TCK-345" });
    expect(said.isError).toBeFalsy();
    expect(said.structuredContent).toEqual({ canary: "data-3", "[ticket]": "see [ticket]" });
    expect(said.content?.[0]?.text).toBe('{"canary":"data-3","[ticket]":"see [ticket]"}');
  });

  it("hold a result until a person lets it pass", async () => {
    const asked = client.call("fake__echo", { args: { canary: "data-4", id: SSN } });
    const approval = await person.asked("data-4");
    expect(approval).toMatchObject({
      action: "fake__echo",
      rule: expect.stringContaining("data national_ids") as string,
    });
    expect(JSON.parse(approval.arguments)).toMatchObject({ result: { structuredContent: { id: SSN } } });
    expect(runs("data-4")).toHaveLength(1);
    await person.approve(approval.id);
    const frame = await asked.answer;
    expect(refusalIn(frame)).toBeUndefined();
    expect(textOf(frame)).toContain(SSN);
    expect(runs("data-4")).toHaveLength(1);
  });

  it("hold a result, and withhold it where a person says no", async () => {
    const asked = client.call("fake__echo", { args: { canary: "data-5", id: SSN } });
    await person.deny((await person.asked("data-5")).id, "not these");
    const frame = await asked.answer;
    expect(refusalIn(frame)).toMatchObject({ decision: "BLOCK" });
    expect(textOf(frame)).toContain("denied it: not these");
    expect(JSON.stringify(frame)).not.toContain(SSN);
  });

  it("leave the bytes of a result in which nothing is found", async () => {
    const written = '{"canary":"data-6","n":9007199254740993,"one":1.0,"w":"caf\\u00e9"}';
    const frame = await client.call("fake__echo", { args: written }).answer;
    expect(textOf(frame)).toBe(written);
  });

  it("stand beside conditions on what a client calls itself", async () => {
    expect(refusalIn(await client.call("fake__odd").answer)).toBeUndefined();
    expect((await sdk.call("fake__odd")).isError).toBe(true);
  });
});
