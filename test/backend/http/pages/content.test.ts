/** What the pages show, and that nothing they are given becomes markup: threats U1, U2, U3, U11. */
import { describe, expect, it } from "vitest";
import { approvalPage } from "../../../../src/backend/http/pages/approval-page.js";
import { type Child, html } from "../../../../src/backend/http/pages/html.js";
import { jsonView } from "../../../../src/backend/http/pages/json-view.js";
import type { Viewer } from "../../../../src/backend/http/pages/layout.js";
import { listPage } from "../../../../src/backend/http/pages/list-page.js";
import { errorPage, signInPage } from "../../../../src/backend/http/pages/plain-pages.js";
import { revealed } from "../../../../src/backend/http/pages/revealed.js";
import type { Approval, ApprovalContext, Principal } from "../../../../src/client/backend.js";
import { noRequirement } from "../../../../src/requirement.js";
import { lookedAt, noContext, waitingApproval } from "../../../fixtures/approvals.js";
import { readMarkup } from "../../../fixtures/markup.js";
import { payloads } from "../../../fixtures/payloads.js";

const carla: Principal = { name: "carla", role: "approver", agent: null, groups: ["docs-team"], token: 3 };
const viewer: Viewer = { principal: carla, form: "form-token" };

const show = (over: Partial<Approval> = {}, context: Partial<ApprovalContext> = {}, by = viewer): string =>
  approvalPage({ ...waitingApproval, ...over }, { ...noContext, ...context }, by, lookedAt);
const textOf = (page: string): string => readMarkup(page).text;
const buttons = (page: string): string[] =>
  readMarkup(page)
    .tags.filter(({ name, closes }) => name === "button" && !closes)
    .flatMap(({ attributes }) => attributes.get("value") ?? []);

/** Elements and attributes, save those in which a character that hides, or an escape, is shown. */
function skeleton(page: string): string {
  let inside = 0;
  return readMarkup(page)
    .tags.filter(({ name, closes, attributes }) => {
      if (name !== "span") return true;
      if (!closes && ["hid", "esc"].includes(attributes.get("class") ?? "")) {
        inside++;
        return false;
      }
      if (!closes || inside === 0) return true;
      inside--;
      return false;
    })
    .map(({ name, closes, attributes }) => {
      // The fields of the form hold what they were given; that it stays in them is what the reading shows.
      const held = [...attributes].map(([key, value]) => (key === "value" ? key : `${key}=${value}`));
      return `${closes ? "/" : ""}${name} ${held.join(" ")}`;
    })
    .join("\n");
}

/** Every field of foreign text on the pages. */
const fields: Record<string, (text: string) => string> = {
  server: (text) => show({ server: text }),
  tool: (text) => show({ tool: text }),
  action: (text) => show({ action: text }),
  agent: (text) => show({ agent: text }),
  principal: (text) => show({ principal: text }),
  rule: (text) => show({ rule: text }),
  reason: (text) => show({ reason: text }),
  revision: (text) => show({ revision: text }),
  digest: (text) => show({ digest: text }),
  "an argument": (text) => show({ arguments: JSON.stringify({ path: text }) }),
  "the name of an argument": (text) => show({ arguments: JSON.stringify({ [text]: 1 }) }),
  "arguments that are no JSON": (text) => show({ arguments: `{${text}` }),
  "a long argument": (text) => show({ arguments: JSON.stringify({ path: text + "x".repeat(2000) }) }),
  "a description": (text) => show({}, { definition: JSON.stringify({ description: text }) }),
  "a title": (text) => show({}, { definition: JSON.stringify({ title: text, description: "x" }) }),
  "a definition that is no JSON": (text) => show({}, { definition: `{${text}` }),
  "what was approved before": (text) => show({}, { previous: previousOf(JSON.stringify({ a: text })) }),
  "who approved before": (text) => show({}, { previous: { ...previousOf("{}"), decidedBy: text } }),
  "the definition before": (text) =>
    show(
      {},
      { definition: "{}", previous: { ...previousOf("{}"), definition: JSON.stringify({ a: text }) } },
    ),
  "the reason of a denial": (text) =>
    show({ status: "denied", decidedBy: text, decidedAt: waitingApproval.createdAt, decidedReason: text }),
  "the reason of a vote": (text) =>
    show({ votes: [{ by: text, at: waitingApproval.createdAt, reason: text }] }),
  "a group": (text) => show({ requirement: { ...noRequirement, approvers: [[`g${text}`]] } }),
  "a pattern of a grant": (text) =>
    show({
      requirement: {
        ...noRequirement,
        grant: { uses: 2, expires: 60_000, arguments: { [`a${text}`]: text } },
      },
    }),
  "who looks": (text) => show({}, {}, { ...viewer, principal: { ...carla, name: text } }),
  "the list": (text) =>
    listPage(
      [{ ...waitingApproval, action: text, agent: text, server: text, reason: text, arguments: `{${text}` }],
      null,
      viewer,
      lookedAt,
    ),
  "where to go on": (text) => signInPage(text, text),
  "an error": (text) => errorPage({ status: 409, detail: text, hint: text }, viewer, html`x`),
};

function previousOf(redacted: string): NonNullable<ApprovalContext["previous"]> {
  return { id: 3, redacted, decidedBy: "bob", decidedAt: waitingApproval.createdAt, definition: null };
}

describe("a corpus of markup", () => {
  it("is large", () => expect(new Set(payloads).size).toBeGreaterThan(60));

  it.each(Object.entries(fields))("stays text as %s", (_field, make) => {
    const plain = skeleton(make("plain words"));
    for (const payload of payloads) expect([payload, skeleton(make(payload))]).toEqual([payload, plain]);
  });

  it("loads nothing and leads nowhere, whatever is in it", () => {
    const all = payloads.join(" ");
    for (const make of Object.values(fields)) {
      for (const { attributes } of readMarkup(make(all)).tags) {
        for (const [name, value] of attributes) {
          expect(name).not.toMatch(/^on|^src|^style$|^srcdoc$|^formaction$|^data$/);
          if (name === "href" || name === "action")
            expect(value).toMatch(/^\/(?:approvals|sign-out|sign-in)/);
        }
      }
    }
  });

  it("shows every character of it", () => {
    for (const payload of payloads) {
      const text = textOf(show({ tool: payload, arguments: JSON.stringify({ path: payload }) }));
      const seen = readMarkup(revealed(payload).text).text;
      expect(text).toContain(seen);
      expect(seen).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029\u3164\u2800\u00a0]/u);
      const back = seen.replace(/⟨U\+([0-9A-F]+)⟩/g, (_all, code: string) =>
        String.fromCodePoint(Number.parseInt(code, 16)),
      );
      expect(back).toBe(payload);
    }
  });
});

describe("a template", () => {
  it("escapes what it is given, and joins lists", () => {
    expect(html`<p title="${`"'<&>`}">${[1, "<", html`<b>x</b>`, null, false]}</p>`.text).toBe(
      '<p title="&quot;&#39;&lt;&amp;&gt;">1&lt;<b>x</b></p>',
    );
  });

  const x: Child = "x";
  it.each([
    ["an attribute without quotes", () => html`<a href=${x}>x</a>`],
    ["an attribute in single quotes", () => html`<a href='${x}'>x</a>`],
    ["the name of an attribute", () => html`<a ${x}>x</a>`],
    ["a second attribute without quotes", () => html`<a class="a" href=${x}>x</a>`],
    ["behind a value in quotes", () => html`<a class="${x}" ${x}>x</a>`],
    ["the name of an element", () => html`<${x}>x</a>`],
    ["a script", () => html`<script>${x}</script>`],
    ["a style sheet", () => html`<style>${x}</style>`],
    ["a comment", () => html`<!-- ${x} -->`],
  ])("has no place for data in %s", (_place, make) => expect(make).toThrow("nothing can stand safely"));
});

describe("arguments", () => {
  const seen = (text: string): string => readMarkup(jsonView(text).text).text;

  it("are shown in canonical order, with numbers and strings as they are written", () => {
    const text = seen(
      '{"b": 9007199254740993, "a": [1.0, -0, 1e400], "c": {"z": null, "\\u0079": "\\u0041\\n\\"" }}',
    );
    expect(text.replace(/\n/g, "")).toBe(
      '{"a": [1.0,-0,1e400],"b": 9007199254740993,"c": {"y": "A\\n\\"","z": null}}',
    );
  });

  it("are complete, however long, and folds say how long", () => {
    const long = `${"0123456789".repeat(20_000)}the end`;
    const text = seen(JSON.stringify({ long, list: Array.from({ length: 1000 }, (_, i) => i) }));
    expect(text).toContain(`"${long}"`);
    expect(text).toContain("string of 200.0 KB in 200,009 characters");
    expect(text).toContain("array of 1000 items, 3,891 characters");
    expect(text.replaceAll(/\s/g, "")).toContain("997,998,999]");
  });

  it("that are too long for a page say so, and lead to all of it", () => {
    const page = show({ arguments: JSON.stringify({ a: "x".repeat(600_000) }) });
    expect(textOf(page)).toContain("600.0 KB in 600,008 characters");
    expect(
      readMarkup(page).tags.some(({ attributes }) => attributes.get("href") === "/approvals/7/arguments"),
    ).toBe(true);
  });

  it("that are deep, none, or no JSON are shown too", () => {
    const deep = `${'{"a":['.repeat(200)}"bottom"${"]}".repeat(200)}`;
    expect(seen(deep)).toContain('"bottom"');
    expect(seen("[".repeat(5000) + "]".repeat(5000))).toContain("not JSON");
    expect(seen("")).toBe("(none)");
    expect(seen("path=/etc")).toContain("path=/etc");
    expect(seen('{"a":1,"a":2}').replace(/\n/g, "")).toBe('{"a": 1,"a": 2}');
  });

  it("that have ended are said to be what the ledger holds", () => {
    expect(textOf(show())).toContain("Exactly what the call would send");
    expect(textOf(show({ status: "denied" }))).toContain("What the ledger holds");
  });
});

describe("the page says", () => {
  it("everything the decision is about", () => {
    const definition = JSON.stringify({ name: "write_file", description: "Writes.", inputSchema: {} });
    const requirement = {
      ...noRequirement,
      approvers: [["docs-team", "leads"]],
      quorum: 2,
      reason: true,
      grant: { uses: 5, expires: 1_800_000, arguments: { path: "/srv/*" } },
    };
    const text = textOf(
      show(
        { requirement, votes: [{ by: "bob", at: waitingApproval.createdAt, reason: "fine" }] },
        { definition, alike: [7, 8] },
      ),
    );
    for (const said of [
      "files__write_file",
      "claude-desktop",
      "stdio:claude-desktop",
      "claude.yaml:12 review files__write_file",
      "Writing outside drafts is public.",
      "cdcdcdcd",
      "2026-11-23 11:59:00 UTC (60 seconds ago)",
      "2026-11-23 13:00:00 UTC (in 60 minutes)",
      "is waiting",
      "Writes.",
      "2 different people approve",
      "one of docs-team, leads",
      "An approval needs a reason",
      "Approved so far by 1 of 2",
      "bob",
      "“fine”",
      "up to 5, within 30 minutes, where path is like /srv/*",
      "held 2 times",
    ])
      expect(text).toContain(said);
    expect(textOf(show({ waiting: false }))).toContain("is gone: a repeat");
    expect(textOf(show({ rule: null }))).toContain("none: the default holds it");
  });

  it("who of a quorum would grant, and that one who does not is enough for none", () => {
    const grant = { uses: 5, expires: 1_800_000, arguments: {} };
    const requirement = { ...noRequirement, quorum: 3, grant };
    const at = waitingApproval.createdAt;
    const bob = { by: "bob", at, reason: "fine", grant: { uses: 2, expires: 600_000 } };
    const open = show({ requirement, votes: [bob] });
    expect(textOf(open)).toContain("“fine”, and grants up to 2 more, within 10 minutes");
    expect(textOf(open).split("A grant needs everybody who approves to give it.")).toHaveLength(3);
    expect(buttons(open)).toContain("grant");
    const over = show({ requirement, votes: [bob, { by: "dan", at, reason: "" }] });
    expect(textOf(over)).toContain("Nothing more can be granted: dan approved this one call only.");
    expect(buttons(over)).toEqual(["deny", "approve"]);
    expect(textOf(show({ requirement: { ...requirement, quorum: 1 } }))).not.toContain("everybody");
  });

  it("of a held result that the call has run, and what becomes of its result", () => {
    const result = '{"result":{"content":[]}}';
    const held = { stage: "result", arguments: result, redacted: result } as const;
    const text = textOf(show(held, { alike: [7, 8] }));
    for (const said of [
      "The result of files__write_file",
      "Exactly what the call has answered",
      "is waiting for the result: the call has run",
      "no result of it was let pass to this agent",
      "The very same result is held 2 times",
      "Let this result pass",
    ])
      expect(text).toContain(said);
    expect(text).not.toMatch(/would send|Approve this one call|picks the decision up|asks again/);
    expect(textOf(show({ ...held, waiting: false }))).toContain("the result was dropped: the call has run");
    const previous = previousOf(result);
    expect(textOf(show(held, { previous }))).toContain(
      "The result is the same, as far as the ledger holds it",
    );
    expect(textOf(show(held, { previous: previousOf("{}") }))).toContain("The result differs");
    for (const status of ["void", "expired"] as const)
      expect(textOf(show({ ...held, status }))).toContain(
        "its result was not passed on; a repeat runs it again",
      );
    expect(textOf(show({ ...held, status: "consumed" }))).toContain("the result was passed on, once");
    expect(textOf(show({ ...held, status: "denied" }))).toContain("the exact result was erased");
    expect(readMarkup(listPage([{ ...waitingApproval, ...held }], null, viewer, lookedAt)).text).toContain(
      "The result of files__write_file",
    );
  });

  it("what changed since the last call that was approved and ran, of its arguments and of its tool", () => {
    const definition = '{"description":"now"}';
    const same = { ...previousOf('{ "path": "/srv/a.txt" }'), definition: '{"description": "now"}' };
    const unchanged = textOf(show({}, { definition, previous: same }));
    expect(unchanged).toContain("The arguments are the same");
    expect(unchanged).toContain("The tool's definition is the same");
    const before = { ...previousOf('{"path":"/srv/b.txt"}'), definition: '{"description":"before"}' };
    const changed = textOf(show({}, { definition, previous: before }));
    expect(changed).toContain('-   "path": "/srv/b.txt"');
    expect(changed).toContain('+   "path": "/srv/a.txt"');
    expect(changed).toContain("definition has changed since");
    expect(changed).toContain('-   "description": "before"');
    expect(changed).toContain("Since the last call of this tool that was approved and ran");
    expect(textOf(show())).toContain(
      "There was none: before, no call of it was approved and ran by this agent",
    );
  });

  it.each<[string, Partial<Approval>, Partial<Principal>, string]>([
    [
      "of another group",
      { requirement: { ...noRequirement, approvers: [["leads"]] } },
      {},
      "its rule asks for leads",
    ],
    [
      "of one group of two lists",
      { requirement: { ...noRequirement, approvers: [["docs-team"], ["leads", "owners"]] } },
      {},
      "its rule asks for one of leads, owners",
    ],
    ["who made the call", { principal: "carla" }, {}, "carla made this call"],
    ["who is the agent", { agent: "carla" }, {}, "carla made this call"],
    [
      "on a page",
      { requirement: { ...noRequirement, channels: ["cli"] } },
      {},
      "Decide it by `aegis approve` or the API",
    ],
    [
      "at all but in the client",
      { requirement: { ...noRequirement, channels: ["client"] } },
      {},
      "Decide it in the client",
    ],
    ["of what was denied", { status: "denied", decidedBy: "bob" }, {}, "Denied by bob"],
    ["of what was approved", { status: "approved", decidedBy: "bob" }, {}, "Approved by bob"],
    ["of what was used", { status: "consumed", decidedBy: "bob" }, {}, "and used"],
    ["of what has expired", { status: "expired" }, {}, "It has expired"],
    ["of what expires now", { expiresAt: new Date(lookedAt).toISOString() }, {}, "It has expired"],
    [
      "of what is void",
      { status: "void", decidedReason: "the agent was killed" },
      {},
      "void: “the agent was killed”",
    ],
  ])("why there is nothing to decide for somebody %s", (_who, over, by, why) => {
    const page = show(over, {}, { ...viewer, principal: { ...carla, ...by } });
    expect(textOf(page)).toContain(why);
    expect(buttons(page)).toEqual([]);
  });

  it("offers what there is to decide, Deny first, and neither is focused", () => {
    expect(buttons(show())).toEqual(["deny", "approve"]);
    const two = { ...noRequirement, quorum: 2, grant: { uses: 2, expires: 60_000, arguments: {} } };
    expect(buttons(show({ requirement: two }))).toEqual(["grant", "deny", "approve"]);
    const voted = { requirement: two, votes: [{ by: "carla", at: waitingApproval.createdAt, reason: "" }] };
    expect(buttons(show(voted))).toEqual(["deny"]);
    const { tags } = readMarkup(show({ requirement: two }));
    expect(tags.some(({ attributes }) => attributes.has("autofocus"))).toBe(false);
    const [first] = tags.filter(
      ({ name, closes, attributes }) => name === "button" && !closes && !attributes.has("class"),
    );
    // Enter in a field presses the first button of the form.
    expect(first?.attributes.has("disabled")).toBe(true);
  });
});

describe("the list", () => {
  it("shows identical calls once, with the number of each", () => {
    const waiting = [7, 8, 9].map((id) => ({ ...waitingApproval, id }));
    const other = { ...waitingApproval, id: 10, digest: "other" };
    const page = listPage([...waiting, other], 7, viewer, lookedAt);
    const { tags, text } = readMarkup(page);
    expect(tags.filter(({ name, closes }) => name === "section" && !closes)).toHaveLength(2);
    const links = tags.flatMap(({ attributes }) => attributes.get("href") ?? []);
    expect(links).toEqual([
      "/approvals",
      "/approvals/7",
      "/approvals/8",
      "/approvals/9",
      "/approvals/10",
      "/approvals?before=7",
    ]);
    expect(text).toContain("held 3 times; each is decided by itself");
    // By the same call of two principals, two things are asked.
    const apart = listPage(
      [waitingApproval, { ...waitingApproval, id: 8, principal: "other" }],
      null,
      viewer,
      lookedAt,
    );
    expect(readMarkup(apart).tags.filter(({ name, closes }) => name === "section" && !closes)).toHaveLength(
      2,
    );
    expect(readMarkup(listPage([], null, viewer, lookedAt)).text).toContain("Nothing waits.");
  });
});
