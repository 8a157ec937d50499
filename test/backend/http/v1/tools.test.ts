import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readAddress } from "../../../../src/client/address.js";
import { HttpBackend } from "../../../../src/client/http.js";
import { Requests } from "../../../../src/client/requests.js";
import { canonicalText } from "../../../../src/frame/canonical.js";
import { createLogger } from "../../../../src/log.js";
import { type Api, startApi } from "../../../fixtures/backend/api.js";
import { agent, person } from "../../../fixtures/backend/store.js";

let api: Api;
const opened: HttpBackend[] = [];
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  for (const backend of opened) await backend.close();
  await api.close();
});

async function as(role: "agent" | "admin" | "auditor"): Promise<HttpBackend> {
  const address = readAddress(api.url, "test", api.tokens[role]);
  const backend = await HttpBackend.open(new Requests(address), "9.9.9", createLogger("silent"));
  opened.push(backend);
  return backend;
}

function offerOf(name: string, description: string): { name: string; definition: string; text: string } {
  const text = JSON.stringify({ name, description: `${description} \ud800`, inputSchema: {} });
  return { name, definition: createHash("sha256").update(canonicalText(text)).digest("hex"), text };
}

test("a gateway tells what it saw, an auditor reads it, an admin accepts it", async () => {
  const [gateway, auditor, admin] = await Promise.all([as("agent"), as("auditor"), as("admin")]);
  const sighting = { agent, server: "files", instructions: "Be\u0000ware \u202e" };
  const offer = offerOf("read", "Reads");
  const { name, definition } = offer;
  expect(await gateway.sight({ ...sighting, tools: [{ name, definition }] })).toEqual({
    tools: [{ name, state: "new", hidden: false }],
    missing: [definition],
  });
  expect(await gateway.sight({ ...sighting, tools: [offer] })).toMatchObject({
    tools: [{ name, state: "new" }],
    missing: [],
  });
  const seen = await auditor.pinnedTools({ server: "files" });
  expect(seen).toEqual(await api.service.pinnedTools({}));
  expect(seen).toMatchObject([
    { tool: "", text: '"Be\\u0000ware \u202e"' },
    { tool: "read", text: offer.text, before: null, acceptedAt: null },
  ]);
  await expect(auditor.acceptTools({}, [definition])).rejects.toMatchObject({ code: "not_permitted" });
  await expect(gateway.acceptTools({}, [definition])).rejects.toMatchObject({ code: "not_permitted" });
  expect(await admin.acceptTools({ tool: "read" }, [definition])).toMatchObject([
    { tool: "read", state: "accepted", acceptedBy: "admin" },
  ]);
  await expect(admin.acceptTools({ server: "nix" }, [])).rejects.toMatchObject({ code: "unknown_tool" });
  expect((await gateway.sight({ ...sighting, tools: [{ name, definition }] })).tools).toMatchObject([
    { state: "accepted" },
  ]);
});

test("what is no sighting, or one of another agent, is refused", async () => {
  const good = { agent, server: "files", tools: [offerOf("x", "y")], instructions: null };
  const other = await api.call("POST", "/v1/tools/sightings", "agent", { ...good, agent: "other" });
  expect(other.status).toBe(403);
  for (const [status, wrong] of [
    [422, { ...good, tools: [{ ...offerOf("x", "y"), name: "" }] }],
    [422, { ...good, tools: [{ ...offerOf("x", "y"), definition: "no hash" }] }],
    [422, { ...good, more: 1 }],
    [
      422,
      { ...good, tools: Array.from({ length: 5001 }, () => ({ name: "x", definition: "0".repeat(64) })) },
    ],
    [400, { ...good, tools: [{ ...offerOf("x", "y"), text: offerOf("x", "z").text }] }],
  ] as const) {
    const answer = await api.call("POST", "/v1/tools/sightings", "agent", wrong);
    expect(answer.status, answer.text).toBe(status);
  }
  expect(await api.service.pinnedTools({ agent: "other" })).toEqual([]);
  expect((await api.service.acceptTools({}, [offerOf("x", "y").definition], person())).length).toBe(0);
});
