import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { permissions } from "../../../../src/backend/http/permissions.js";
import { type Compat, startCompat } from "../../../fixtures/backend/compat.js";
import type { Answer } from "../../../fixtures/backend/http.js";

const agent = "claude-desktop";

let server: Compat;
beforeAll(async () => {
  server = await startCompat();
  await server.did("/sdk/register-agent", "agent", { name: agent });
  await server.did("/sdk/approval", "agent", { agent_name: agent, action: "pay" });
});
afterAll(() => server.close());

/** Bodies that are right. */
const bodies: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "/sdk/register-agent": { name: agent, owner: "ana" },
  "/sdk/register-policy": { agent_name: agent, action: "pay", rule_type: "BLOCK" },
  "/sdk/log": { agent_name: agent, action: "pay", status: "ALLOWED", details: "" },
  "/sdk/update-status": { name: agent, status: "PAUSED" },
  "/sdk/approval": { agent_name: agent, action: "pay", args_json: "{}" },
  "/sdk/decide-approval/:id": { decision: "APPROVED" },
  "/agents/:name/toggle": { status: "PAUSED" },
  "/approvals/:id/decide": { decision: "APPROVED" },
};
/** What may be left out. */
const optional = new Set(["owner", "details", "args_json"]);

const routes = Object.keys(permissions.compat).map((row) => row.split(" ") as [string, string]);
const posts = routes.flatMap(([method, url]) =>
  method === "POST" && url !== "/sdk/init" ? [{ url, body: bodies[url] ?? {} }] : [],
);

function who(url: string): string {
  if (/toggle|update-status/.test(url)) return "admin";
  return /decide/.test(url) ? "approver" : "agent";
}

function filled(url: string): string {
  return url
    .replace(":id", "1")
    .replace(/:(agent_)?name/, agent)
    .replace(":action", "pay");
}

/** Everything that may not change by what is refused. */
async function state(): Promise<unknown> {
  const { service } = server;
  return {
    agents: await service.agents(),
    rules: await service.rulesOf(agent),
    approvals: await service.approvals({}),
    reported: await service.reported(),
  };
}

async function expectRefused(answer: Answer, before: unknown, what: string): Promise<void> {
  const { status, json } = answer;
  expect(status, `${what}: ${answer.text.slice(0, 200)}`).toBeGreaterThanOrEqual(400);
  expect(status, what).toBeLessThan(500);
  if (status === 422) {
    expect(Array.isArray(json.detail), what).toBe(true);
    for (const problem of json.detail)
      expect(Object.keys(problem).toSorted(), what).toEqual(["loc", "msg", "type"]);
  } else expect(typeof json.detail, what).toBe("string");
  expect(await state(), what).toEqual(before);
}

describe("a bad body", () => {
  it.each(posts)("of $url is refused, and changes nothing", async ({ url, body }) => {
    const before = await state();
    const wrong: unknown[] = [
      null,
      7,
      true,
      [],
      {},
      [body.name],
      { $ne: "" },
      "a\0b",
      "\ud800",
      "x".repeat(900_000),
    ];
    const path = filled(url);
    const send = (sent: unknown): Promise<Answer> => server.post(path, who(url), sent);
    for (const whole of ["", "{", "null", "7", "[]", '"text"', "{}", '{"__proto__":{"a":1}}'])
      await expectRefused(await send(whole), before, `${url} ${whole}`);
    for (const key of Object.keys(body)) {
      for (const value of wrong) {
        // Free text may be long: it is kept within bounds.
        if (typeof value === "string" && value.length > 1_000 && ["details", "args_json"].includes(key))
          continue;
        const what = `${url} ${key} ${JSON.stringify(value).slice(0, 60)}`;
        await expectRefused(await send(JSON.stringify({ ...body, [key]: value })), before, what);
      }
      if (!optional.has(key)) {
        const { [key]: _, ...rest } = body;
        await expectRefused(await send(rest), before, `${url} without ${key}`);
      }
    }
    const huge = JSON.stringify({ ...body, extra: "x".repeat(10 * 1024 * 1024) });
    await expectRefused(await send(huge), before, `${url} with 10 MB`);
    const form = await server.ask(path, {
      method: "POST",
      token: who(url),
      body: "a=b",
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    await expectRefused(form, before, `${url} as a form`);
  });

  it.each(posts.filter(({ url }) => !/decide|status|toggle/.test(url)))(
    "of $url does not get worse by keys that nobody asked for",
    async ({ url, body }) => {
      const more = { session_id: "x", constructor_: 1, nested: { deep: [1] } };
      expect((await server.post(filled(url), who(url), { ...body, ...more })).status).toBe(200);
    },
  );
});

describe("a bad id", () => {
  it.each(["abc", "1.5", "1e3", "0x1", "%00", "1;", "NaN", "--1", "1 OR 1=1", "%F0%9F%A4%96"])(
    "such as %s is refused",
    async (id) => {
      const before = await state();
      const path = encodeURI(decodeURI(id));
      await expectRefused(await server.get(`/sdk/approval-status/${path}`, "agent"), before, id);
      for (const url of [`/sdk/decide-approval/${path}`, `/approvals/${path}/decide`])
        await expectRefused(await server.post(url, "approver", { decision: "APPROVED" }), before, url);
    },
  );

  it.each(["0", "-1", "99999", "9007199254740993", "9".repeat(300)])("such as %s is nobody's", async (id) => {
    const before = await state();
    expect(await server.said(`/sdk/approval-status/${id}`, "agent")).toEqual({ status: null });
    for (const url of [`/sdk/decide-approval/${id}`, `/approvals/${id}/decide`]) {
      const answer = await server.post(url, "approver", { decision: "APPROVED" });
      expect(answer.status).toBe(404);
      await expectRefused(answer, before, url);
    }
  });
});

describe("whatever is sent", () => {
  const odd = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.constantFrom(
      "..",
      "%2e%2e",
      "a/b?c#d",
      "__proto__",
      "\0",
      "\ud800",
      "constructor",
      agent,
      "1",
      "%",
      "%zz",
    ),
    fc.jsonValue().map((value) => JSON.stringify(value)),
  );

  it("is answered with JSON and never with a fault", async () => {
    const { service } = server;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...routes),
        odd,
        odd,
        fc.dictionary(
          fc.constantFrom(
            "name",
            "agent_name",
            "action",
            "status",
            "rule_type",
            "decision",
            "args_json",
            "details",
            "x",
          ),
          fc.oneof(odd, fc.jsonValue()),
        ),
        fc.boolean(),
        async ([method, url], first, second, body, encoded) => {
          // Bytes that no path may have, Node's own client does not send.
          const spell = (text: string): string =>
            encoded
              ? encodeURIComponent(text.replace(/\p{Cs}/gu, ""))
              : text.replace(/[^!-~]/g, "").replace(/^$/, "x");
          const path = url.replace(/:[a-z_]+/, () => spell(first)).replace(/:[a-z_]+/, () => spell(second));
          const as = method === "GET" ? "admin" : who(url);
          const answer = await server.ask(path, {
            method,
            token: as,
            ...(method === "POST" ? { body } : {}),
          });
          expect(answer.status, `${method} ${path} ${answer.text.slice(0, 300)}`).toBeLessThan(500);
          expect(answer.json, `${method} ${path}`).not.toBeNull();
          if (answer.status >= 400) expect(Object.keys(answer.json)).toEqual(["detail"]);
        },
      ),
      { numRuns: 600 },
    );
    expect((await service.verify()).ok).toBe(true);
  }, 60_000);
});
