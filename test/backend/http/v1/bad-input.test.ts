import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fitting } from "../../../../src/client/wire/fields.js";
import { type Api, policy, question, startApi } from "../../../fixtures/backend/api.js";
import { agent, person } from "../../../fixtures/backend/store.js";

/** A request that is well-formed, and to whose members one thing at a time is done. */
interface Sample {
  readonly as: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: Readonly<Record<string, unknown>>;
}

const outcome = {
  call: "nobody-1",
  agent: "claude-desktop",
  principal: "p",
  server: "s",
  tool: "t",
  action: "s__t",
  outcome: "ok",
  duration: 1,
  reason: "r",
  approval: 1,
};
const asked = { ...question("nobody"), principal: "p" };

/** One for every route there is, as `METHOD /path`; none of them finds what it names. */
const samples: Readonly<Record<string, Sample>> = {
  "GET /v1": { as: "admin", query: {} },
  "GET /v1/whoami": { as: "admin", query: {} },
  "POST /v1/authenticate": { as: "gateway", body: { token: "x" } },
  "POST /v1/gateways": { as: "gateway", body: { pid: 1, label: "l", address: null, host: "h" } },
  "POST /v1/gateways/heartbeat": { as: "gateway", body: { gateway: "nobody", mark: 0 } },
  "POST /v1/gateways/heard": { as: "gateway", body: { gateway: "nobody", event: 0 } },
  "POST /v1/gateways/leave": { as: "gateway", body: { gateway: "nobody" } },
  "GET /v1/gateways/events": { as: "gateway", query: { gateway: "nobody", after: "0" } },
  "GET /v1/gateways": { as: "auditor", query: {} },
  "POST /v1/agents": { as: "gateway", body: { name: "fuzzed", owner: "o" } },
  "GET /v1/agents": { as: "auditor", query: {} },
  "POST /v1/kill": { as: "admin", body: { agent: "nobody", reason: "r" } },
  "POST /v1/revive": { as: "admin", body: { agent: "nobody", reason: "r" } },
  "POST /v1/decisions": { as: "gateway", body: asked },
  "POST /v1/decisions/release": { as: "gateway", body: { ...asked, approval: 1 } },
  "POST /v1/outcomes": { as: "gateway", body: { outcomes: [outcome] } },
  "POST /v1/notes": {
    as: "gateway",
    body: { kind: "refused", agent: "a", principal: "p", server: "s", action: "a", reason: "r" },
  },
  "POST /v1/approvals/{id}/detach": { as: "gateway", body: { call: "nobody-1" } },
  "POST /v1/approvals/{id}/answer": { as: "gateway", body: { call: "nobody-1" } },
  "GET /v1/approvals": { as: "auditor", query: { status: "pending", limit: "1", before: "9" } },
  "GET /v1/approvals/{id}": { as: "auditor", query: {} },
  "GET /v1/approvals/{id}/context": { as: "auditor", query: {} },
  "GET /v1/grants": { as: "auditor", query: { all: "true" } },
  "POST /v1/grants/{id}/revoke": { as: "approver", body: { reason: "r" } },
  "GET /v1/tools": { as: "auditor", query: { agent: "a" } },
  "POST /v1/tools/accept": { as: "admin", body: { server: "s", definitions: ["0".repeat(64)] } },
  "POST /v1/tools/sightings": {
    as: "gateway",
    body: { agent: "nobody", server: "s", tools: [], instructions: null },
  },
  "POST /v1/approvals/{id}/decision": {
    as: "approver",
    body: { decision: "approved", reason: "r", digest: "d" },
  },
  "GET /v1/ledger": {
    as: "auditor",
    query: { agent: "a", kind: "kill", limit: "1", after: "0", before: "9" },
  },
  "GET /v1/ledger/verify": { as: "auditor", query: {} },
  "GET /v1/ledger/export": { as: "auditor", query: { format: "csv", agent: "a", from: "1", to: "2" } },
  "GET /v1/ledger/key": { as: "auditor", query: {} },
  "GET /v1/tokens": { as: "admin", query: {} },
  "POST /v1/tokens": {
    as: "admin",
    body: { name: "t", role: "agent", agent: "a", groups: ["g"], trust_declared: false, expires_ms: 1 },
  },
  "POST /v1/tokens/{id}/revoke": { as: "admin", body: {} },
  "GET /v1/policies": { as: "auditor", query: {} },
  "GET /v1/policies/revisions": { as: "auditor", query: {} },
  "PUT /v1/policies": { as: "admin", body: { documents: [{ name: "a.yaml", text: "agent: [" }] } },
  "GET /v1/events": { as: "auditor", query: { agent: "a", kind: "kill", after: "999999999" } },
  "GET /v1/stats": { as: "auditor", query: {} },
};

function sampleOf(route: string): Sample {
  const sample = samples[route];
  if (sample === undefined) throw new Error(`there is no sample of ${route}`);
  return sample;
}

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

interface Said {
  readonly status: number;
  readonly detail: unknown;
}

/** Reads no stream: its status is enough. */
async function send(
  route: string,
  as: string,
  query: string,
  body?: string | Uint8Array,
  type?: string,
): Promise<Said> {
  const [method = "", pattern = ""] = route.split(" ");
  const tokens: Readonly<Record<string, string>> = api.tokens;
  const leaving = new AbortController();
  const response = await fetch(`${api.url}${pattern.replace("{id}", "999999")}${query}`, {
    method,
    headers: {
      authorization: `Bearer ${tokens[as]}`,
      ...(body === undefined ? {} : { "content-type": type ?? "application/json" }),
    },
    ...(body === undefined ? {} : { body: body as string }),
    signal: leaving.signal,
  });
  const stream = response.headers.get("content-type") === "text/event-stream";
  const text = stream ? "" : await response.text();
  if (stream) leaving.abort();
  const json = response.headers.get("content-type")?.startsWith("application/json") === true;
  return {
    status: response.status,
    detail: json ? (JSON.parse(text) as { detail?: unknown } | null)?.detail : undefined,
  };
}

function refused(route: string, what: unknown, said: Said, statuses?: readonly number[]): void {
  const shown = `${route} ${JSON.stringify(what).slice(0, 200)}: ${said.status}`;
  expect(said.status, shown).toBeGreaterThanOrEqual(400);
  expect(said.status, shown).toBeLessThan(500);
  expect(said.detail, shown).toBeTruthy();
  if (statuses !== undefined) expect(statuses, shown).toContain(said.status);
}

/** All that a request could have changed. */
async function state(): Promise<unknown> {
  const { service } = api;
  const records = (await api.records()).filter(({ kind }) => kind !== "refused" && kind !== "login_refused");
  return {
    records: records.map(({ id }) => id),
    agents: await service.agents(),
    approvals: await service.approvals({}),
    gateways: await service.gateways(),
    tokens: await service.tokens(),
    policy: await service.policy(),
  };
}

const querying = Object.entries(samples).filter(([, { query }]) => query !== undefined);
const bodied = Object.entries(samples).filter(([, { body }]) => body !== undefined);

test("every route of /v1 that the server has is tried here", async () => {
  const { json } = await api.call("GET", "/openapi.json", "admin");
  const routes = Object.entries(json.paths as Record<string, object>)
    .filter(([path]) => path === "/v1" || path.startsWith("/v1/"))
    .flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
  expect(Object.keys(samples).toSorted()).toEqual(routes.toSorted());
});

test("bodies that are not what a route takes are refused, and change nothing", async () => {
  const before = await state();
  for (const [route, { as, body = {} }] of bodied) {
    for (const text of [
      "null",
      "[]",
      "7",
      '"x"',
      "{",
      "",
      '{"__proto__":{}}',
      '{"constructor":{"prototype":{}}}',
      "{}}",
    ]) {
      // Nothing is what this one takes.
      if (route.endsWith("/revoke") && text === "null") continue;
      refused(route, text, await send(route, as, "", text), [400, 422]);
    }
    refused(route, "bytes", await send(route, as, "", new Uint8Array([0x7b, 0xff, 0xfe])), [400, 422]);
    refused(route, "text/plain", await send(route, as, "", JSON.stringify(body), "text/plain"), [415]);
    refused(route, "extra", await send(route, as, "", JSON.stringify({ ...body, nope: 1 })), [422]);
    refused(
      route,
      "deep",
      await send(route, as, "", `{"nope":${"[".repeat(100_000)}${"]".repeat(100_000)}}`),
      [422],
    );
    for (const member of Object.keys(body)) {
      const nul = { ...body, [member]: "a\u0000b" };
      for (const wrong of [
        { ...body, [member]: { a: 1 } },
        { ...body, [member]: [[]] },
      ]) {
        refused(route, wrong, await send(route, as, "", JSON.stringify(wrong)), [422]);
      }
      const said = await send(route, as, "", JSON.stringify(nul));
      if (said.status >= 400) refused(route, nul, said);
      else
        expect([member, said.status]).toEqual([
          expect.stringMatching(/^(reason|owner|action|server|token|instructions)$/),
          200,
        ]);
    }
  }
  const after = await state();
  // What a NUL may stand in was written, and nothing else was.
  expect({ ...(after as object), records: [], agents: [] }).toEqual({
    ...(before as object),
    records: [],
    agents: [],
  });
});

test("a string of 10 MB is refused wherever it stands", async () => {
  const before = await state();
  const huge = "x".repeat(10 * 1024 * 1024);
  for (const [route, member] of [
    ["POST /v1/decisions", "arguments"],
    ["POST /v1/decisions", "agent"],
    ["POST /v1/decisions", "tool"],
    ["POST /v1/notes", "reason"],
    ["POST /v1/agents", "name"],
    ["POST /v1/kill", "reason"],
    ["PUT /v1/policies", "documents"],
    ["POST /v1/outcomes", "outcomes"],
  ] as const) {
    const { as, body } = sampleOf(route);
    refused(
      route,
      member,
      await send(route, as, "", JSON.stringify({ ...body, [member]: huge })),
      [413, 422],
    );
  }
  const { as, body } = sampleOf("PUT /v1/policies");
  const document = { ...body, documents: [{ name: "a.yaml", text: huge }] };
  refused(
    "PUT /v1/policies",
    "text",
    await send("PUT /v1/policies", as, "", JSON.stringify(document)),
    [422],
  );
  expect(await state()).toEqual(before);
});

test("queries that are not what a route takes are refused", async () => {
  const before = await state();
  for (const [route, { as, query = {} }] of querying) {
    const text = (over: Record<string, string>): string => `?${new URLSearchParams({ ...query, ...over })}`;
    refused(route, "extra", await send(route, as, text({ nope: "1" })), [422]);
    refused(route, "__proto__", await send(route, as, `${text({})}&__proto__=1`), [422]);
    for (const member of Object.keys(query)) {
      refused(route, `${member} twice`, await send(route, as, `${text({})}&${member}=1`), [422]);
      const wrong =
        ["a", "gateway"].includes(query[member] ?? "") || member === "gateway"
          ? ["a\u0000", "", " a"]
          : ["..", "", "-1"];
      for (const value of wrong)
        refused(route, [member, value], await send(route, as, text({ [member]: value })), [422]);
    }
    for (const limit of ["0", "-1", "1001", "1e3", "9".repeat(400), "0x1", "١"]) {
      if (query.limit !== undefined) refused(route, limit, await send(route, as, text({ limit })), [422]);
    }
    // What cannot be decoded is taken as it stands.
    const strange = await send(route, as, "?%ff%fe=%zz&&&==%00");
    refused(route, "strange", strange, [422]);
  }
  expect(await state()).toEqual(before);
});

test("ids that are no numbers, or of nothing, are refused", async () => {
  const before = await state();
  for (const [route, { as, body }] of Object.entries(samples).filter(([key]) => key.includes("{id}"))) {
    const [method = "", pattern = ""] = route.split(" ");
    for (const id of [
      "0",
      "-1",
      "1.5",
      "x",
      "__proto__",
      "%00",
      "%ff",
      "%ED%A0%80",
      "..%2f..",
      "%2e%2e",
      "a%2Fb%3Fc%23d",
      "1e1",
      "9007199254740993",
      "7".repeat(500),
      "7".repeat(5_000),
      "999999",
    ]) {
      const answer = await api.call(method, pattern.replace("{id}", id), as, body);
      refused(route, id, { status: answer.status, detail: answer.json?.detail }, [400, 404, 405, 414, 422]);
    }
  }
  expect(await state()).toEqual(before);
});

test("names of all kinds are names, and what names nothing is not found", async () => {
  for (const name of [
    "..",
    "a/b?c#d",
    "__proto__",
    "constructor",
    "Zürich 7",
    "../../etc/passwd",
    "%2e%2e",
  ]) {
    const made = await api.did("POST", "/v1/agents", "gateway", { name });
    expect(made).toMatchObject({ name, status: "ACTIVE" });
    const found = await api.did("GET", `/v1/ledger?agent=${encodeURIComponent(name)}`, "auditor");
    expect(found.records).toHaveLength(1);
  }
  for (const name of ["toString", "hasOwnProperty", "...", "a/b"]) {
    const killed = await api.call("POST", "/v1/kill", "admin", { agent: name });
    expect([name, killed.status, killed.json.code]).toEqual([name, 404, "unknown_agent"]);
    const read = await api.did("GET", `/v1/ledger?agent=${encodeURIComponent(name)}`, "auditor");
    expect(read.records).toEqual([]);
  }
  for (const name of ["", " ", "a\u0000", "a\u202e", "\ud800", "e\u0301", "x".repeat(257)]) {
    const answer = await api.call("POST", "/v1/agents", "gateway", { name });
    refused("POST /v1/agents", name, { status: answer.status, detail: answer.json.detail }, [422]);
  }
});

test("whatever is sent, nothing of it is a fault of the server, and what is refused leaves no trace", async () => {
  const value = fc.oneof(
    { weight: 4, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
    fc.constantFrom(
      "..",
      "a/b?c#d",
      "__proto__",
      "\u0000",
      "\ud800",
      "null",
      "",
      "claude-desktop",
      "agent",
      "9".repeat(40),
    ),
    fc.constantFrom(-0, 2 ** 53, -1, 1e308, 0.1, Number.MIN_VALUE),
    fc.string({ unit: "binary", maxLength: 2_000 }),
  );
  const routes = Object.keys(samples).filter((route) => !/verify|export/.test(route));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...routes),
      fc.dictionary(
        fc.oneof(fc.string(), fc.constantFrom("limit", "kind", "name", "agent", "reason")),
        value,
        {
          maxKeys: 2,
        },
      ),
      fc.nat(),
      value,
      async (route, added, which, instead) => {
        const { as, query, body } = sampleOf(route);
        const members = Object.keys(query ?? body ?? {});
        const member = members[which % (members.length + 1)];
        const changed = { ...(query ?? body), ...(member === undefined ? added : { [member]: instead }) };
        const before = await api.service.newestRecord();
        const said =
          body === undefined
            ? await send(route, as, `?${new URLSearchParams(textOf(changed))}`)
            : await send(route, as, "", JSON.stringify(changed));
        expect(said.status, `${route} ${JSON.stringify(changed)}`).toBeLessThan(500);
        if (said.status < 400) return;
        refused(route, changed, said);
        const written = (await api.service.records({ after: before, limit: 100 })).map(({ kind }) => kind);
        // Signed in its own time, whoever asks.
        expect(
          written.filter((kind) => !["refused", "login_refused", "outcome", "checkpoint"].includes(kind)),
        ).toEqual([]);
      },
    ),
    { numRuns: 500 },
  );
  // Some of it was understood: it may have killed the agent, or published other policies.
  await api.service.publish([{ name: "claude.yaml", text: policy }], person());
  await api.service.revive(agent, person(), "");
  const { id } = await api.enlist("gateway");
  expect((await api.did("POST", "/v1/decisions", "gateway", question(id))).decision).toBe("ALLOW");
  expect((await api.service.verify()).ok).toBe(true);
});

function textOf(values: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      fitting(name, 10_000),
      fitting(typeof value === "string" ? value : JSON.stringify(value), 10_000),
    ]),
  );
}
