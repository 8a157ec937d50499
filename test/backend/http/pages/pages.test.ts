/** The pages on which people decide: threats T9, T16, T18, U5, U7, U10. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { routes } from "../../../../src/backend/http/routes.js";
import type { Service } from "../../../../src/backend/service.js";
import type { Principal } from "../../../../src/client/backend.js";
import { noRequirement, type Requirement } from "../../../../src/requirement.js";
import { type Answer, startServer, type TestServer } from "../../../fixtures/backend/http.js";
import { ada, hold, Visitor } from "../../../fixtures/backend/people.js";
import { rawStore, waitFor } from "../../../fixtures/backend/store.js";
import { readMarkup } from "../../../fixtures/markup.js";

/** What {@link decideApproval} was asked. */
const decided: unknown[][] = [];
function watched(service: Service): Service {
  return new Proxy(service, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        if (name === "decideApproval") decided.push(args);
        return value.apply(target, args);
      };
    },
  });
}

let server: TestServer;
let carla: Visitor;
beforeAll(async () => {
  server = await startServer({ routes, wrap: watched });
  carla = await Visitor.signedIn(server);
});
afterAll(() => server.close());

const textOf = ({ text }: Answer): string => readMarkup(text).text;
/** Writes into the store what a policy would have asked for. */
async function ask(id: number, more: Partial<Requirement>): Promise<void> {
  const store = await rawStore(server.home);
  try {
    const requirement = JSON.stringify({ ...noRequirement, ...more });
    store.prepare("UPDATE approvals SET requirement = ? WHERE id = ?").run(requirement, id);
  } finally {
    store.close();
  }
}
const status = async (id: number): Promise<string> => (await server.service.approval(id)).status;

describe("signing in", () => {
  it("is asked for, and leads back to the page that was asked for", async () => {
    const visitor = new Visitor(server);
    const sent = await visitor.get("/approvals/7");
    expect([sent.status, sent.headers.location]).toEqual([303, "/sign-in?to=%2Fapprovals%2F7"]);
    expect(sent.headers["www-authenticate"]).toBeUndefined();
    const page = await visitor.get("/sign-in?to=%2Fapprovals%2F7");
    expect(page.status).toBe(200);
    const { to } = await visitor.fieldsOf("/sign-in?to=%2Fapprovals%2F7");
    expect(to).toBe("/approvals/7");
    const token = server.tokens.approver;
    const back = await visitor.post("/sign-in", { token, to });
    expect([back.status, back.headers.location]).toEqual([303, "/approvals/7"]);
    expect((await visitor.get("/approvals")).status).toBe(200);
    // Whoever is signed in need not do it again.
    expect((await visitor.get("/sign-in?to=/approvals/7")).headers.location).toBe("/approvals/7");
  });

  it.each([
    "//evil.example/",
    "https://evil.example/",
    "/\\evil.example",
    "/approvals/7/../../v1",
    "/approvals/7?x=1",
    "/approvals\n/7",
    "javascript:alert(1)",
    "/docs",
  ])("leads to none but our own pages: %j", async (to) => {
    const visitor = new Visitor(server);
    const shown = await visitor.fieldsOf(`/sign-in?to=${encodeURIComponent(to)}`);
    expect(shown.to).toBe("/approvals");
    const answer = await visitor.post("/sign-in", { token: server.tokens.approver, to });
    expect(answer.headers.location).toBe("/approvals");
  });

  it("gives a cookie that scripts, and other sites, do not get", async () => {
    const answer = await new Visitor(server).post("/sign-in", { token: server.tokens.admin, to: "" });
    expect(answer.headers["set-cookie"]).toEqual([
      expect.stringMatching(/^aegis=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; SameSite=Strict$/),
    ]);
    expect(answer.text).not.toContain(server.tokens.admin);
  });

  it("takes another cookie where browsers reach us over TLS", async () => {
    const behind = await startServer({ routes, publicUrl: "https://aegis.example.com" });
    try {
      const headers = { host: "aegis.example.com", origin: "https://aegis.example.com" };
      const visitor = new Visitor(behind, headers);
      const answer = await visitor.post("/sign-in", { token: behind.tokens.approver, to: "" }, headers);
      expect(answer.headers["set-cookie"]).toEqual([
        expect.stringMatching(/^__Host-aegis=[A-Za-z0-9_-]{43}; Path=\/; HttpOnly; Secure; SameSite=Strict$/),
      ]);
      expect((await visitor.get("/approvals")).status).toBe(200);
      visitor.cookie = visitor.cookie.replace("__Host-", "");
      expect((await visitor.get("/approvals")).status).toBe(303);
    } finally {
      await behind.close();
    }
  });

  it.each(["agent", "gateway", "auditor"] as const)(
    "is not for a token of %s, which is told why",
    async (name) => {
      const visitor = new Visitor(server);
      const answer = await visitor.post("/sign-in", { token: server.tokens[name], to: "" });
      expect(answer.status).toBe(403);
      expect(textOf(answer)).toContain(`role ${name === "gateway" ? "agent" : name}, which decides nothing`);
      expect(answer.headers["set-cookie"]).toBeUndefined();
      await waitFor(
        async () =>
          (await server.service.records({ kinds: ["refused"], limit: 50 })).some(
            ({ principal, reason }) => principal === name && String(reason).includes("wanted to sign in"),
          ),
        "the record",
      );
    },
  );

  it("with a wrong token says so, is recorded, and limited like any failed login", async () => {
    const own = await startServer({ routes });
    try {
      const visitor = new Visitor(own);
      const wrong = { token: `aegis_${"A".repeat(43)}`, to: "/approvals/7" };
      const first = await visitor.post("/sign-in", wrong);
      expect([first.status, first.headers["www-authenticate"]]).toEqual([401, undefined]);
      expect(textOf(first)).toContain("unknown, expired or revoked");
      // The page to go on to is not lost by it.
      expect(first.text).toContain('name="to" value="/approvals/7"');
      await waitFor(
        async () => (await own.service.records({ kinds: ["login_refused"], limit: 5 })).length > 0,
        "the record",
      );
      let last = first;
      for (let i = 0; i < 20; i++) last = await visitor.post("/sign-in", wrong);
      expect(last.status).toBe(429);
      expect(Number(last.headers["retry-after"])).toBeGreaterThan(0);
      expect((await visitor.post("/sign-in", { token: own.tokens.approver, to: "" })).status).toBe(303);
    } finally {
      await own.close();
    }
  });

  it("makes a new session each time, and ends the one before: nobody's planted id is worth anything", async () => {
    const visitor = new Visitor(server);
    visitor.cookie = `aegis=${"A".repeat(43)}`;
    await visitor.post("/sign-in", { token: server.tokens.approver, to: "" });
    const first = visitor.cookie;
    expect(first).not.toContain("AAAA");
    await visitor.post("/sign-in", { token: server.tokens.approver, to: "" });
    expect(visitor.cookie).not.toBe(first);
    const before = new Visitor(server);
    before.cookie = first;
    expect((await before.get("/approvals")).status).toBe(303);
    expect((await visitor.get("/approvals")).status).toBe(200);
    // Two cookies of the name: one of them was planted.
    visitor.cookie = `${visitor.cookie}; ${first}`;
    expect((await visitor.get("/approvals")).status).toBe(303);
  });

  it("by another site's form is refused: nobody is signed in as somebody else", async () => {
    const form = { token: server.tokens.approver, to: "" };
    const missing = { origin: [] as unknown as string };
    for (const headers of [
      { origin: "https://evil.example" },
      { origin: "null" },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      missing,
    ]) {
      const answer = await new Visitor(server).post("/sign-in", form, headers);
      expect([headers, answer.status, answer.headers["set-cookie"]]).toEqual([headers, 403, undefined]);
    }
  });

  it("leaves neither token nor cookie in the store", async () => {
    const person = await Visitor.signedIn(server, "stored");
    const store = await rawStore(server.home);
    try {
      const rows = JSON.stringify(store.prepare("SELECT * FROM sessions").all());
      expect(rows).toContain("stored");
      expect(rows).not.toContain(person.token);
      expect(rows).not.toContain(person.cookie.replace("aegis=", ""));
    } finally {
      store.close();
    }
  });
});

describe("a session", () => {
  it("ends on the server when its person signs out", async () => {
    const person = await Visitor.signedIn(server, "leaver");
    const { cookie } = person;
    const { form } = await person.fieldsOf("/approvals");
    const out = await person.post("/sign-out", { form });
    expect([out.status, out.headers.location, person.cookie]).toEqual([303, "/sign-in", ""]);
    person.cookie = cookie;
    expect((await person.get("/approvals")).status).toBe(303);
  });

  it("ends with its token, at once", async () => {
    const id = await hold(server);
    const person = await Visitor.signedIn(server, "revoked");
    const fields = await person.fieldsOf(`/approvals/${id}`);
    expect((await person.get("/approvals")).status).toBe(200);
    await server.service.revokeToken(person.tokenId, ada);
    expect((await person.get("/approvals")).status).toBe(303);
    const late = await person.post(`/approvals/${id}`, { ...fields, decision: "approve" });
    expect([late.status, await status(id)]).toEqual([401, "pending"]);
    expect(textOf(late)).toContain("The session has ended");
    expect(late.text).toContain(`href="/sign-in?to=%2Fapprovals%2F${id}"`);
  });

  it("ends when its token expires", async () => {
    const person = await Visitor.signedIn(server, "expiring", { expires: 400 });
    expect((await person.get("/approvals")).status).toBe(200);
    await waitFor(async () => (await person.get("/approvals")).status === 303, "the end of the session");
  });

  it("ends after a time without requests, and after eight hours of them", async () => {
    const person = await Visitor.signedIn(server, "sleeper");
    const store = await rawStore(server.home);
    try {
      const hour = 3_600_000;
      const set = (sql: string, ...values: number[]): void => {
        store.prepare(`UPDATE sessions SET ${sql} WHERE principal LIKE '%sleeper%'`).run(...values);
      };
      const ends = (): number =>
        (
          store.prepare("SELECT expires_at AS at FROM sessions WHERE principal LIKE '%sleeper%'").get() as {
            at: number;
          }
        ).at;
      set("expires_at = ?", Date.now() + 60_000);
      expect((await person.get("/approvals")).status).toBe(200);
      // Being used keeps it for another hour, and never beyond the eighth.
      expect(ends()).toBeGreaterThan(Date.now() + 0.9 * hour);
      set("expires_at = ?, created_at = ?", Date.now() + 60_000, Date.now() - 7.5 * hour);
      expect((await person.get("/approvals")).status).toBe(200);
      expect(ends()).toBeLessThan(Date.now() + 0.51 * hour);
      set("expires_at = ?", Date.now() - 1);
      expect((await person.get("/approvals")).status).toBe(303);
    } finally {
      store.close();
    }
  });

  it("is nothing to the API, and a token is nothing to the pages", async () => {
    for (const path of ["/v1/whoami", "/v1/events", "/approvals/pending", "/agents"])
      expect([path, (await carla.get(path)).status]).toEqual([path, 401]);
    const basic = `Basic ${Buffer.from(`x:${server.tokens.admin}`).toString("base64")}`;
    for (const authorization of [`Bearer ${server.tokens.admin}`, basic])
      expect((await server.ask("/approvals", { headers: { authorization } })).status).toBe(303);
  });

  it("of somebody who follows a link from elsewhere is found by one more step", async () => {
    // The browser leaves a strict cookie out of what another site started.
    const answer = await new Visitor(server).get("/approvals/7", { "sec-fetch-site": "cross-site" });
    expect(answer.status).toBe(401);
    expect(answer.text).toContain('<meta http-equiv="refresh" content="0; url=/approvals/7">');
  });
});

describe("a decision", () => {
  it("is made by who is signed in, on the page, and is seen there", async () => {
    const id = await hold(server, '{"n":1}');
    const before = decided.length;
    const answer = await carla.decide(id, { decision: "approve", reason: "looks right" });
    expect([answer.status, answer.headers.location]).toEqual([303, `/approvals/${id}`]);
    expect(await server.service.approval(id)).toMatchObject({ status: "approved", decidedBy: "carla" });
    const [, verdict, by, reason, options] = decided[before] ?? [];
    expect([verdict, (by as Principal).name, reason, options]).toEqual([
      "approved",
      "carla",
      "looks right",
      { channel: "page" },
    ]);
    expect(textOf(await carla.get(`/approvals/${id}`))).toContain("Approved by carla");
  });

  it("denies", async () => {
    const id = await hold(server, '{"n":2}');
    await carla.decide(id, { decision: "deny", reason: "" });
    expect(await status(id)).toBe("denied");
  });

  it("grants what was asked for, where it is asked for", async () => {
    const id = await hold(server, '{"n":3}');
    await ask(id, { grant: { uses: 5, expires: 1_800_000, arguments: {} } });
    const before = decided.length;
    await carla.decide(id, { decision: "grant", uses: "3", minutes: "10", reason: "" });
    expect(decided[before]?.[4]).toEqual({ channel: "page", grant: { uses: 3, expires: 600_000 } });
    const other = await hold(server, '{"n":33}');
    await carla.decide(other, { decision: "approve", uses: "3", minutes: "10", reason: "" });
    expect(decided.at(-1)?.[4]).toEqual({ channel: "page" });
  });

  it("of something else than what was shown is refused", async () => {
    const id = await hold(server, '{"n":4}');
    const answer = await carla.decide(id, { decision: "approve", digest: "0".repeat(64) });
    expect([answer.status, await status(id)]).toEqual([409, "pending"]);
    expect(textOf(answer)).toContain("not for what was shown");
    expect(answer.text).toContain(`href="/approvals/${id}"`);
    expect((await carla.decide(id, { decision: "approve", reason: "" })).status).toBe(303);
  });

  it("that comes second is told who was first", async () => {
    const id = await hold(server, '{"n":5}');
    const bob = await Visitor.signedIn(server, "bob");
    const fields = await carla.fieldsOf(`/approvals/${id}`);
    await bob.decide(id, { decision: "deny", reason: "no" });
    const answer = await carla.post(`/approvals/${id}`, { ...fields, decision: "approve" });
    expect(answer.status).toBe(409);
    expect(textOf(answer)).toContain("denied by bob");
  });

  it("needs the form of its own session and page", async () => {
    const id = await hold(server, '{"n":6}');
    const bob = await Visitor.signedIn(server, "bob-2");
    const fields = { ...(await carla.fieldsOf(`/approvals/${id}`)), decision: "approve" };
    const theirs = (await bob.fieldsOf(`/approvals/${id}`)).form;
    const path = `/approvals/${id}`;
    const { form: _form, ...without } = fields;
    for (const [what, answer] of Object.entries({
      "without its token": await carla.post(path, without),
      "with an empty one": await carla.post(path, { ...fields, form: "" }),
      "with another session's": await carla.post(path, { ...fields, form: theirs }),
      "from another site": await carla.post(path, fields, { origin: "https://evil.example" }),
      "from nowhere": await carla.post(path, fields, { origin: "null" }),
      "from another site, by its own word": await carla.post(path, fields, {
        "sec-fetch-site": "cross-site",
      }),
    }))
      expect([what, answer.status]).toEqual([what, 403]);
    const json = JSON.stringify(fields);
    const asJson = await server.ask(path, {
      method: "POST",
      body: json,
      headers: { cookie: carla.cookie, origin: server.url },
    });
    expect(asJson.status).toBe(415);
    expect(await status(id)).toBe("pending");
    expect((await carla.post(path, fields)).status).toBe(303);
    expect(await status(id)).toBe("approved");
  });

  it("needs a reason where the policy says so", async () => {
    const id = await hold(server, '{"n":7}');
    await ask(id, { reason: true });
    const answer = await carla.decide(id, { decision: "approve", reason: " " });
    expect([answer.status, await status(id)]).toEqual([400, "pending"]);
    expect(textOf(answer)).toContain("not approved without a reason");
    expect((await carla.decide(id, { decision: "deny", reason: "" })).status).toBe(303);
  });

  it("takes as many people as the policy says, and shows who they are", async () => {
    const id = await hold(server, '{"n":77}');
    await ask(id, { quorum: 2 });
    await carla.decide(id, { decision: "approve", reason: "one" });
    expect(await status(id)).toBe("pending");
    const page = await carla.get(`/approvals/${id}`);
    expect(textOf(page)).toContain("Approved so far by 1 of 2");
    expect(textOf(page)).toContain("You have approved it");
    expect(page.text).not.toContain('value="approve"');
    const dora = await Visitor.signedIn(server, "dora");
    await dora.decide(id, { decision: "approve", reason: "two" });
    expect(await status(id)).toBe("approved");
  });

  it("is not for whom the policy does not let decide, on the page or at all", async () => {
    const id = await hold(server, '{"n":78}');
    for (const more of [{ approvers: [["leads"]] }, { channels: ["cli"] as const }]) {
      const fields = await carla.fieldsOf(`/approvals/${id}`);
      await ask(id, more);
      expect((await carla.get(`/approvals/${id}`)).text).not.toContain('name="decision"');
      // A form that was made up, or shown before.
      const { digest } = await server.service.approval(id);
      const answer = await carla.post(`/approvals/${id}`, { ...fields, digest, decision: "approve" });
      expect([answer.status, await status(id)]).toEqual([403, "pending"]);
    }
    await ask(id, { approvers: [["leads"]] });
    const lead = await Visitor.signedIn(server, "lead", { groups: ["leads"] });
    expect((await lead.decide(id, { decision: "approve", reason: "" })).status).toBe(303);
    expect(await status(id)).toBe("approved");
  });

  it.each<[string, Record<string, string>]>([
    ["another word", { decision: "maybe" }],
    ["no word", { decision: "" }],
    ["an endless reason", { reason: "x".repeat(20_000) }],
    ["fewer than no calls", { uses: "-1" }],
    ["calls that are no number", { uses: "1e3" }],
    ["minutes that are no number", { minutes: "x" }],
  ])("with %s is refused", async (what, wrong) => {
    const id = await hold(server, JSON.stringify({ n: 8, what }));
    const answer = await carla.decide(id, { decision: "approve", ...wrong });
    expect([answer.status, await status(id)]).toEqual([422, "pending"]);
    expect(textOf(answer)).toContain("holds something it must not");
  });
});

describe("looking", () => {
  it("changes nothing, whoever looks and however: a link preview decides nothing", async () => {
    const id = await hold(server, '{"n":9}');
    const { form, digest } = await carla.fieldsOf(`/approvals/${id}`);
    const query = `decision=approve&form=${form}&digest=${digest}`;
    const records = await server.service.newestRecord();
    for (const method of ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]) {
      for (const path of [
        `/approvals/${id}?${query}`,
        `/approvals/${id}/decide?${query}`,
        "/sign-out",
        "/approvals",
      ])
        for (const cookie of ["", carla.cookie])
          await server.ask(path, { method, headers: cookie === "" ? {} : { cookie } });
    }
    expect(await status(id)).toBe("pending");
    const later = await server.service.records({ after: records, limit: 100 });
    expect(later.filter(({ kind }) => kind !== "login_refused")).toEqual([]);
    expect((await carla.get(`/approvals/${id}`)).status).toBe(200);
  });

  it("at what is not there is answered alike, whatever is asked for", async () => {
    const texts = new Set<string>();
    for (const id of [
      "999999",
      "0",
      "-1",
      "abc",
      "1e0",
      "01",
      "0x1",
      "1.0",
      "%201",
      "9".repeat(40),
      "%3Cscript%3E",
    ]) {
      const answer = await carla.get(`/approvals/${id}`);
      expect([id, answer.status]).toEqual([id, 404]);
      texts.add(textOf(answer).replaceAll(/\d+/g, "N"));
    }
    expect(texts.size).toBe(1);
    // And to whoever is not signed in, nothing tells what is there.
    const id = await hold(server, '{"n":10}');
    for (const one of [id, 999_999])
      expect((await new Visitor(server).get(`/approvals/${one}`)).status).toBe(303);
  });

  it("at all of the arguments gives them as text in which nothing hides", async () => {
    const id = await hold(server, '{"path":"/srv/\u202e\u200b<b>é","n":9007199254740993}');
    const answer = await carla.get(`/approvals/${id}/arguments`);
    expect(answer.headers["content-type"]).toBe("text/plain; charset=utf-8");
    expect(answer.text).toBe('{"path":"/srv/\\u202e\\u200b<b>\\u00e9","n":9007199254740993}');
    expect((await new Visitor(server).get(`/approvals/${id}/arguments`)).status).toBe(303);
  });

  it("shows what waits, in pages of a hundred", async () => {
    const id = await hold(server, '{"listed":true}');
    const page = await carla.get("/approvals");
    expect(page.text).toContain(`href="/approvals/${id}"`);
    expect(textOf(page)).toContain('{"listed":true}');
    for (const query of ["?before=1", "?before=x", "?before=-1"])
      expect((await carla.get(`/approvals${query}`)).status).toBe(200);
    expect(textOf(await carla.get("/approvals?before=1"))).toContain("Nothing waits.");
  });

  it("is no more than a document: nothing runs, is framed, is kept or told on", async () => {
    const id = await hold(server, '{"n":11}');
    for (const path of ["/approvals", `/approvals/${id}`, "/sign-in?x", "/approvals/999999"]) {
      const visitor = path.startsWith("/sign-in") ? new Visitor(server) : carla;
      const { headers, text } = await visitor.get(path);
      const policy = String(headers["content-security-policy"]);
      expect(policy).toMatch(
        /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/,
      );
      expect(headers).toMatchObject({
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "same-origin",
      });
      expect(text).not.toMatch(/<script|javascript:|<img|<link|<iframe| on[a-z]+=/i);
      expect(text).not.toContain(server.tokens.approver);
    }
  });
});

describe("beside the API", () => {
  it("JSON routes take no forms, and answer as ever", async () => {
    const id = await hold(server, '{"n":12}');
    const form = { "content-type": "application/x-www-form-urlencoded" };
    for (const path of [
      `/approvals/${id}/decide`,
      `/v1/approvals/${id}/decision`,
      `/sdk/decide-approval/${id}`,
    ]) {
      const answer = await server.ask(path, {
        method: "POST",
        token: "admin",
        body: "decision=approved",
        headers: form,
      });
      expect([path, answer.status]).toEqual([path, 415]);
    }
    expect(await status(id)).toBe("pending");
    const pending = await server.ask("/approvals/pending", { token: "admin" });
    expect(pending.json.some((one: { id: number | string }) => Number(one.id) === id)).toBe(true);
    const path = `/approvals/${id}/decide`;
    const answer = await server.ask(path, { method: "POST", token: "admin", body: { decision: "APPROVED" } });
    expect([answer.status, await status(id)]).toEqual([200, "approved"]);
  });

  it("the address alone leads to them", async () => {
    const { status: code, headers } = await server.ask("/", { token: null });
    expect([code, headers.location]).toEqual([303, "/approvals"]);
  });

  it("the files of a dashboard are served as ever", async () => {
    const folder = mkdtempSync(join(tmpdir(), "aegis-dashboard-"));
    writeFileSync(join(folder, "index.html"), "<title>board</title>");
    const board = await startServer({ routes, pages: folder });
    try {
      const index = await board.ask("/", { token: "auditor" });
      expect([index.status, index.text]).toEqual([200, "<title>board</title>"]);
      expect((await board.ask("/")).headers["www-authenticate"]).toContain("Basic");
      expect((await board.ask("/approvals", { token: "auditor" })).headers.location).toBe(
        "/sign-in?to=%2Fapprovals",
      );
      expect((await board.ask("/approvals/pending", { token: "auditor" })).json).toEqual([]);
    } finally {
      await board.close();
      rmSync(folder, { recursive: true });
    }
  });
});
