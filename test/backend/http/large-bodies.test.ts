import { type ClientRequest, request as httpRequest } from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { routes } from "../../../src/backend/http/routes.js";
import type { Service } from "../../../src/backend/service.js";
import type { Intent, Verdict } from "../../../src/client/backend.js";
import { question } from "../../fixtures/backend/api.js";
import { type Answer, startServer, type TestServer } from "../../fixtures/backend/http.js";
import { person, waitFor } from "../../fixtures/backend/store.js";

const large = JSON.stringify({ text: "x".repeat(300 * 1024) });
const names = ["ana", "bob", "cid"] as const;
type Name = (typeof names)[number];

let server: TestServer;
let tokens: Record<Name, string>;
let gateways: Record<Name, string>;
/** Decisions about large arguments that are being made, and how to let them end. */
let deciding: Array<{ readonly agent: string; readonly end: () => void }>;
let holding: boolean;

/** Lets decisions about large arguments end only when the test says so. */
function held(service: Service): Service {
  const decide = async (intent: Intent): Promise<Verdict> => {
    if (holding && intent.arguments.length > 256 * 1024)
      await new Promise<void>((resolve) => {
        const one = {
          agent: intent.agent,
          end: () => {
            deciding.splice(deciding.indexOf(one), 1);
            resolve();
          },
        };
        deciding.push(one);
      });
    return service.decide(intent);
  };
  return new Proxy(service, {
    get: (target, name) => {
      if (name === "decide") return decide;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

beforeEach(async () => {
  deciding = [];
  holding = false;
  server = await startServer({ routes, wrap: held });
  const made = await Promise.all(
    names.map(async (name) => {
      const { token } = await server.service.createToken({ name, role: "agent", agent: name }, person());
      const body = { pid: 7, label: name, address: null, host: "desk-1" };
      const { json } = await server.ask("/v1/gateways", { method: "POST", token, body });
      return [name, token, json.id as string] as const;
    }),
  );
  tokens = Object.fromEntries(made.map(([name, token]) => [name, token])) as typeof tokens;
  gateways = Object.fromEntries(made.map(([name, , id]) => [name, id])) as typeof gateways;
});
afterEach(() => server.close());

const decide = (name: Name, text: string): Promise<Answer> =>
  server.ask("/v1/decisions", {
    method: "POST",
    token: tokens[name],
    body: question(gateways[name], "read", { agent: name, arguments: text }),
  });
const statuses = async (answers: ReadonlyArray<Promise<Answer>>): Promise<number[]> =>
  (await Promise.all(answers)).map(({ status }) => status);
const busy = (): string[] => deciding.map(({ agent }) => agent).toSorted();

describe("large bodies", () => {
  it("are worked on one of a principal and two in all at a time, while small ones pass", async () => {
    holding = true;
    const asked = [decide("ana", large), decide("ana", large)];
    await waitFor(() => deciding.length === 1, "the first");
    asked.push(decide("bob", large));
    await waitFor(() => deciding.length === 2, "that of another");
    asked.push(decide("cid", large));
    for (const name of names) expect((await decide(name, "{}")).status).toBe(200);
    expect(busy()).toEqual(["ana", "bob"]);
    // Whoever came first and may: bob's place is cid's, since ana has one already.
    deciding.find(({ agent }) => agent === "bob")?.end();
    await waitFor(() => busy().join() === "ana,cid", "the next");
    deciding.find(({ agent }) => agent === "ana")?.end();
    await waitFor(() => busy().join() === "ana,cid", "the second of the first");
    while (deciding.length > 0) deciding[0]?.end();
    expect(await statuses(asked)).toEqual([200, 200, 200, 200]);
  });

  it("that cannot be worked on in time are refused with a reason, and are taken again afterwards", async () => {
    holding = true;
    const first = decide("ana", large);
    await waitFor(() => deciding.length === 1, "the first");
    const asked = performance.now();
    const { status, headers, json } = await decide("ana", large);
    expect([status, headers["retry-after"], json.detail]).toEqual([
      503,
      "1",
      "Other large bodies are being worked on; this one was not.",
    ]);
    expect(performance.now() - asked).toBeLessThan(1_800);
    deciding[0]?.end();
    expect((await first).status).toBe(200);
    holding = false;
    expect((await decide("ana", large)).status).toBe(200);
  });

  it("keep their place until the backend is done, whether or not their sender waits", async () => {
    holding = true;
    const text = JSON.stringify(question(gateways.ana, "read", { agent: "ana", arguments: large }));
    const left = send("ana", Buffer.byteLength(text));
    left.end(text);
    await waitFor(() => deciding.length === 1, "the first");
    left.destroy();
    const second = decide("ana", large);
    await decide("bob", "{}");
    expect(deciding).toHaveLength(1);
    deciding[0]?.end();
    await waitFor(() => deciding.length === 1, "the second");
    deciding[0]?.end();
    expect((await second).status).toBe(200);
  });

  it("on their way are bounded for each principal, and its others are not kept", async () => {
    const sent = Array.from({ length: 4 }, () => send("ana", 16 * 1024 * 1024));
    for (const each of sent) each.write("{");
    // Of what they announced nothing has come yet.
    await waitFor(async () => (await decide("ana", large)).status === 429, "the bound");
    expect((await decide("ana", "{}")).status).toBe(200);
    expect((await decide("bob", large)).status).toBe(200);
    for (const each of sent) each.destroy();
    await waitFor(async () => (await decide("ana", large)).status === 200, "room");
  });

  it.each([
    ["no JSON", `{"text":"${"x".repeat(300 * 1024)}"`],
    ["no JSON in the middle", `{"a":[${"1,".repeat(150 * 1024)}1,,1]}`],
    ["no object", `["${"x".repeat(300 * 1024)}"]`],
    ["a key twice", `{"a":1,"text":"${"x".repeat(300 * 1024)}","a":2}`],
    ["too deep", `{"a":${"[".repeat(65)}"${"x".repeat(300 * 1024)}"${"]".repeat(65)}}`],
  ])("are refused like small ones where they are %s", async (_what, text) => {
    const before = await server.service.newestRecord();
    const { status, json } = await decide("ana", text);
    expect([status, json.detail[0].loc]).toEqual([422, ["body", "arguments"]]);
    expect(await server.service.newestRecord()).toBe(before);
    expect((await decide("ana", large)).status).toBe(200);
  });
});

/** A request whose body the test writes. */
function send(name: Name, length: number): ClientRequest {
  const sent = httpRequest(`${server.url}/v1/decisions`, {
    method: "POST",
    agent: false,
    headers: {
      authorization: `Bearer ${tokens[name]}`,
      "content-type": "application/json",
      "content-length": length,
    },
  });
  sent.on("error", () => {});
  return sent;
}
