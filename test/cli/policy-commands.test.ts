import { hash } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import { Output } from "../../src/cli/output.js";
import { run as check } from "../../src/cli/policy/check.js";
import { run as explain } from "../../src/cli/policy/explain.js";
import { run as replay } from "../../src/cli/policy/replay.js";
import { run as testPolicies } from "../../src/cli/policy/test.js";
import { canonicalText } from "../../src/frame/canonical.js";
import { createLogger } from "../../src/log.js";
import { policySet } from "../../src/policy/file/load.js";
import { casesJsonSchema } from "../../src/policy/trial/cases.js";
import { intent, person } from "../fixtures/backend/store.js";
import { type Ended, inProcess } from "../fixtures/command.js";
import { repository } from "../fixtures/servers.js";

let home: string;
let folder: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "aegis-policy-"));
  chmodSync(home, 0o700);
  folder = join(home, "policies");
  mkdirSync(folder);
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function write(text: string, name = "bot.yaml"): string {
  const file = join(folder, name);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, text);
  return file;
}

const documents = ({ stdout }: Ended): Array<Record<string, unknown>> =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function withService<T>(use: (service: Service) => Promise<T>): Promise<T> {
  const log = createLogger("silent");
  const service = await openBackend({ home, policies: policySet([]), holdExpires: 60_000, log });
  try {
    return await use(service);
  } finally {
    await service.close();
  }
}

describe("explain", () => {
  const policy = `agent: bot
allow:
  - files__read_*
  - { action: files__write, when: 'args.path.startsWith("/tmp/")' }
block: ["*__delete"]
review:
  - action: mail__send
    when: args.to.size() > 1
    approval: { approvers: [mail-team], quorum: 2, reason: required, expires: 30m }
  - { action: "*", shadow: true }
limits:
  - { action: "mail__*", calls: 20, per: 1h }
servers:
  block: ["169.254.*"]
data:
  - { detect: secrets, then: redact, in: arguments }
`;
  const asked = (action: string, args?: string, more: object = {}): Promise<Ended> =>
    inProcess(explain, home, {
      agent: "bot",
      action,
      ...(args === undefined ? {} : { args }),
      policies: folder,
      ...more,
    });

  test("shows every rule with its place, whether it matched, and why not", async () => {
    write(policy);
    const { code, stdout } = await asked("mail__send", '{"to":["a","b"]}');
    expect(code).toBe(0);
    for (const line of [
      /^REVIEW {2}mail__send by agent bot$/m,
      /^ {2}takes {5}2 people from mail-team, with a reason, within 30m$/m,
      /^decided +bot.yaml:7 review mail__send$/m,
      /^ +when args.to.size\(\) > 1$/m,
      /^other action +bot.yaml:5 block \*__delete$/m,
      /^not counted here +bot.yaml:12 limits mail__\*$/m,
      /^in shadow +bot.yaml:10 review \*$/m,
    ])
      expect(stdout).toMatch(line);
    expect((await asked("mail__send", '{"to":["a"]}')).stdout).toMatch(
      /^condition false +bot.yaml:7 review mail__send$/m,
    );
  });

  test("shows a condition that fails, and that it blocks", async () => {
    write(policy);
    const { stdout } = await asked("files__write", "{}");
    expect(stdout).toMatch(/^BLOCK {2}files__write/m);
    expect(stdout).toMatch(/^decided \(error\) +bot.yaml:4 allow files__write$/m);
    expect(stdout).toMatch(/^ +error: /m);
  });

  test("asks rules for data and servers too", async () => {
    write(policy);
    const secret = `ghp_${"a".repeat(30)}`;
    const redacted = await asked("files__read_x", JSON.stringify({ q: secret }), { json: true });
    expect(documents(redacted)).toMatchObject([
      { decision: "ALLOW", forwarded: '{"q":"[secrets]"}', found: ["bot.yaml:16 data secrets"] },
    ]);
    const url = await asked("files__read_x", '{"url":"http://0xa9fea9fe/"}', { json: true });
    expect(documents(url)).toMatchObject([
      { decision: "BLOCK", rule: "bot.yaml:14 servers block 169.254.*" },
    ]);
  });

  test("asks as of another time", async () => {
    write("agent: bot\nallow: [{ action: a__b, when: 'now.getHours() < 12' }]\n");
    for (const [now, decision] of [
      ["2026-01-05T10:00:00Z", "ALLOW"],
      ["2026-01-05T13:00:00Z", "REVIEW"],
    ])
      expect(documents(await asked("a__b", "{}", { now, json: true }))).toMatchObject([{ decision }]);
    expect((await asked("a__b", "{}", { now: "tomorrow" })).code).toBe(2);
    expect((await asked("a__b", "[]")).code).toBe(2);
  });
});

describe("explain, of a tool that the backend knows", () => {
  const asked = (more: object = {}): Promise<Ended> =>
    inProcess(explain, home, { agent: "bot", action: "files__read", policies: folder, ...more });
  const see = (description: string, said: string | null = null): Promise<unknown> =>
    withService(async (service) => {
      const text = JSON.stringify({ name: "read", description, annotations: { readOnlyHint: true } });
      const tools = [{ name: "read", definition: hash("sha256", canonicalText(text)), text }];
      const instructions = said === null ? null : JSON.stringify(said);
      await service.ensureAgent("bot");
      await service.sight({ agent: "bot", server: "files", tools, instructions });
    });

  test("says what the gateway says of it, and what it would take; without a backend, what is assumed", async () => {
    write("agent: bot\nallow: ['*__read']\n");
    const guessed = await asked();
    expect(guessed.stdout).toMatch(/^ALLOW/);
    expect(guessed.stdout).toContain("As if the tool were accepted: there is no backend here yet.");
    expect(documents(await asked({ json: true }))).toMatchObject([{ tool_state: null }]);
    expect(readdirSync(home)).toEqual(["policies"]);

    await see("Reads");
    const held = await asked();
    expect(held.stdout).toMatch(/^REVIEW/);
    expect(held.stdout).toContain('"aegis tools accept files read"');
    expect(held.stdout).not.toContain("As if");
    expect(documents(await asked({ json: true }))).toMatchObject([{ decision: "REVIEW", tool_state: "new" }]);
    expect((await asked({ action: "other__read" })).stdout).toContain("has shown this agent no tools yet");

    await withService(async (service) => {
      const [{ definition } = { definition: "" }] = await service.pinnedTools({});
      await service.acceptTools({}, [definition], person());
    });
    expect(documents(await asked({ json: true }))).toMatchObject([
      { decision: "ALLOW", tool_state: "accepted" },
    ]);
    write("agent: bot\nallow: [{ action: '*__read', when: tool.claims.readOnlyHint }]\n");
    expect((await asked()).stdout).toMatch(/^ALLOW/);
    await see("Reads", "Do as I say");
    expect(documents(await asked({ json: true }))).toMatchObject([
      { decision: "REVIEW", tool_state: "changed" },
    ]);
  });

  test("breaks no word where the terminal is narrow", async () => {
    write(
      "agent: bot\nreview: [{ action: files__read, reason: 'Somebody has to look at what is read of these files, each time' }]\n",
    );
    const lines: string[] = [];
    const stdout = {
      isTTY: true,
      columns: 60,
      on: () => {},
      hasColors: () => false,
      write: (text: string) => lines.push(text),
    };
    const out = new Output(false, stdout as unknown as NodeJS.WriteStream);
    const context = { env: {}, home, out, embedded: async () => openBackend };
    await explain(context, { agent: "bot", action: "files__read", policies: folder });
    expect(lines.join("")).toMatch(
      /^ {2}Somebody has to look at what is read of these files, each\n {2}time\n/m,
    );
  });
});

describe("check", () => {
  const checked = (more: object = {}): Promise<Ended> => inProcess(check, home, more, [folder]);

  test("reports every error with line and column, and exits 1", async () => {
    write(
      "agent: bot\nallow:\n  - { action: a__b, when: 'args.x +' }\n  - { action: a__c, when: nothing }\nblok: []\n",
    );
    const { code, stderr } = await checked();
    expect(code).toBe(1);
    for (const place of ["bot.yaml:3:", "bot.yaml:4:", "bot.yaml:5:1"]) expect(stderr).toContain(place);
    write("agent: bot\nallow: [a__b]\n");
    expect((await checked()).code).toBe(0);
  });

  test("warns of rules that are never reached, which --strict takes for errors", async () => {
    write("agent: bot\nallow: [files__read]\nblock: ['files__*']\n");
    const { code, stderr, stdout } = await checked();
    expect(code).toBe(0);
    expect(stderr).toContain("bot.yaml:2:");
    expect(stdout).toContain("1 warning");
    expect((await checked({ strict: true })).code).toBe(1);
  });

  test("reports requirements that nobody can meet", async () => {
    write(
      "agent: bot\nreview:\n  - { action: a__b, approval: { channels: [page] } }\n  - { action: a__b, approval: { channels: [cli] } }\n",
    );
    const { code, stderr } = await checked();
    expect(code).toBe(1);
    expect(stderr).toMatch(/bot.yaml:[34]:/);
  });

  test("asks a backend which tools there are and who may approve, and makes none to ask", async () => {
    write(
      "agent: bot\nallow: [files__read, files__raed]\nreview: [{ action: files__write, approval: { approvers: [docs] } }]\n",
    );
    const without = await checked();
    expect(without).toMatchObject({ code: 0, stderr: "" });
    expect(without.stdout).toContain("Not checked");
    expect(readdirSync(home)).toEqual(["policies"]);

    await withService(async (service) => {
      const tools = ["read", "write"].map((name) => {
        const text = JSON.stringify({ name });
        return { name, definition: hash("sha256", canonicalText(text)), text };
      });
      await service.ensureAgent("bot");
      await service.sight({ agent: "bot", server: "files", tools, instructions: null });
    });
    const known = await checked({ json: true });
    expect(known.code).toBe(1);
    expect(documents(known)).toMatchObject([
      {
        ok: false,
        errors: [expect.stringContaining("docs")],
        warnings: [expect.stringContaining("files__raed")],
      },
    ]);
    await withService((service) =>
      service.createToken({ name: "ann", role: "approver", groups: ["docs"] }, person()),
    );
    expect(documents(await checked({ json: true }))).toMatchObject([{ ok: true, errors: [] }]);
  });
});

describe("test", () => {
  const cases = (tests: string): string =>
    write(`policies: ../bot.yaml\nagent: bot\ntests:\n${tests}`, "tests/bot.yaml");
  const tested = (more: object = {}): Promise<Ended> =>
    inProcess(testPolicies, home, more, [join(folder, "tests")]);

  test("passes where everything is as expected, and fails where one thing is not", async () => {
    write(
      "agent: bot\nallow: [{ action: a__b, when: 'calls.minute < 3 && args.n == 1' }]\nlimits: [{ action: 'a__*', concurrent: 2 }]\n",
    );
    cases(`  - name: first
    call: { action: a__b, args: { n: 1 } }
    expect: { decision: ALLOW, rule: allow a__b, shadow: null }
  - name: fourth in a minute
    call: { action: a__b, args: { n: 1 }, counts: [{ action: a__b, calls: 3, per: 1m }] }
    expect: { decision: REVIEW, rule: null, quorum: 1, channels: [page, cli] }
  - name: third at once
    call: { action: a__b, args: { n: 1 }, counts: [{ action: a__*, concurrent: 2 }] }
    expect: { decision: BLOCK, rule: limits a__* }
  - name: a number too large to compare
    call: { action: a__b, args: '{"n":9007199254740993}' }
    expect: { decision: BLOCK, error: true, reason: policy_error }
  - name: changed
    call: { action: a__b, args: { n: 1 }, tool: { state: changed } }
    expect: REVIEW
  - name: another agent
    agent: other
    call: { action: a__b, args: { n: 1 } }
    expect: REVIEW
`);
    const good = await tested();
    expect(good.stdout).toContain("6 of 6 cases passed.");
    expect(good.code).toBe(0);
    cases(
      "  - name: wrong\n    call: { action: a__b, args: { n: 1 } }\n    expect: { decision: BLOCK, quorum: 2 }\n",
    );
    const bad = await tested();
    expect(bad.code).toBe(1);
    expect(bad.stdout).toContain('decision: expected "BLOCK", is "ALLOW"');
    expect(bad.stdout).toContain("quorum: expected 2, is 1");
    expect(documents(await tested({ json: true }))).toMatchObject([
      { passed: false, rule: "bot.yaml:2 allow a__b" },
    ]);
  });

  test("asks rules for data about the result of a call that is let through", async () => {
    write("agent: bot\nallow: [a__b]\ndata: [{ detect: card_numbers, then: redact, in: results }]\n");
    cases(
      "  - name: redacted\n    call: { action: a__b, result: { text: card 4111 1111 1111 1111 } }\n" +
        "    expect: { decision: ALLOW, result: { text: 'card [card_numbers]' } }\n",
    );
    expect(await tested()).toMatchObject({ code: 0 });
  });

  test("passes over policies in a folder, and says of one that it has no cases", async () => {
    const policy = write("agent: bot\nallow: [a__b]\n");
    const file = "policies: ./bot.yaml\nagent: bot\ntests:\n";
    const alone = await inProcess(testPolicies, home, {}, [folder]);
    expect(alone.code).toBe(1);
    expect(alone.stderr).toContain("no file of cases");
    write(`${file}  - { name: one, call: { action: a__b }, expect: ALLOW }\n`, "cases.yaml");
    const mixed = await inProcess(testPolicies, home, {}, [folder]);
    expect(mixed.stdout).toContain("1 of 1 cases passed.");
    expect(mixed.code).toBe(0);
    const named = await inProcess(testPolicies, home, {}, [policy]);
    expect(named.code).toBe(1);
    expect(named.stderr).toMatch(/^[^\n]*bot\.yaml: this is a policy, not a file of cases \(tests:\)\n/);
  });

  test("names the place of what is no case", async () => {
    write("agent: bot\n");
    const file = cases("  - name: x\n    call: { action: a__b, arg: {} }\n    expect: MAYBE\n");
    const { code, stderr } = await tested();
    expect(code).toBe(1);
    expect(stderr).toContain(`${file}:5:`);
    expect(stderr).toContain(`${file}:6:13`);
  });

  test("the examples decide what their cases say, and each has some", async () => {
    const shipped = join(repository, "policies");
    const policies = readdirSync(shipped).filter((name) => name.endsWith(".yaml"));
    expect(readdirSync(join(shipped, "tests")).toSorted()).toEqual(policies.toSorted());
    const { code, stdout } = await inProcess(testPolicies, home, {}, [join(shipped, "tests")]);
    expect(stdout).not.toContain("FAIL");
    expect(code).toBe(0);
    const schema = JSON.parse(readFileSync(join(shipped, "policy-test.schema.json"), "utf8")) as unknown;
    expect(schema, "npm run schema").toEqual(JSON.parse(JSON.stringify(casesJsonSchema())));
  });
});

describe("replay", () => {
  const replayed = (more: object = {}): Promise<Ended> =>
    inProcess(replay, home, { json: true, ...more }, [join(folder, "bot.yaml")]);

  /** Calls that were decided under no policy, and so held. */
  async function recorded(...calls: ReadonlyArray<readonly [tool: string, text: string]>): Promise<number[]> {
    return withService(async (service) => {
      await service.ensureAgent("bot");
      const gateway = await service.attach({ pid: process.pid, label: "test", address: null });
      const records: number[] = [];
      for (const [tool, text] of calls)
        records.push((await service.decide(intent(gateway, tool, text, { agent: "bot" }))).record);
      return records;
    });
  }

  test("names what would change, newest first, and counts it", async () => {
    const [first, second] = await recorded(["read", '{"n":1}'], ["read", '{"n":2}'], ["write", "{}"]);
    write("agent: bot\nallow: [{ action: files__read, when: 'args.n < 3' }]\n");
    const [one, two, summary] = documents(await replayed());
    expect(one).toMatchObject({
      record: second,
      action: "files__read",
      was: "REVIEW",
      would_be: "ALLOW",
      rule: "bot.yaml:2 allow files__read",
    });
    expect(two).toMatchObject({ record: first });
    expect(summary).toMatchObject({ same: 1, changed: 2, unknown: 0, changes: { "REVIEW → ALLOW": 2 } });
    expect(documents(await replayed({ limit: 2 })).at(-1)).toMatchObject({ same: 1, changed: 1 });
    expect((await replayed({ agent: "nobody" })).code).toBe(1);
  });

  test("guesses nothing that was redacted: unknown where a rule reads it, decided where none does", async () => {
    await recorded(["login", '{"user":"ann","password":"x"}'], ["login", '{"user":"bob","password":"y"}']);
    write("agent: bot\nallow: [{ action: files__login, when: 'args.password.size() > 3' }]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 0, unknown: 2 });
    write("agent: bot\nallow: [{ action: files__login, when: 'args.user == \"ann\"' }]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ same: 1, changed: 1, unknown: 0 });
    // Whatever the condition says, this blocks.
    write(
      "agent: bot\nblock: [files__login]\nallow: [{ action: files__login, when: 'args.password == \"x\"' }]\n",
    );
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 2, unknown: 0 });
    write("agent: bot\nallow: [files__login]\nservers: { block: ['*.evil'] }\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 0, unknown: 2 });
    write("agent: bot\nallow: [files__login]\ndata: [{ detect: secrets, then: block }]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 0, unknown: 2 });
  });

  test("guesses no member that was left out, no part of a long list, and nothing a client said", async () => {
    const many = Object.fromEntries(Array.from({ length: 600 }, (_, index) => [`m${index}`, "some value"]));
    await recorded(["many", JSON.stringify(many)]);
    write("agent: bot\nallow: [{ action: files__many, when: '!has(args.m599)' }]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 0, unknown: 1 });
    write("agent: bot\nallow: [files__many]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 1, unknown: 0 });
    write("agent: bot\nallow: [{ action: files__many, when: 'client.name == \"x\"' }]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 0, unknown: 1 });
    await recorded(["list", JSON.stringify({ items: Array.from({ length: 2_000 }, () => "value") })]);
    write("agent: bot\nallow: [{ action: files__list, when: 'args.items.size() < 1900' }]\n");
    expect(documents(await replayed({ limit: 1 })).at(-1)).toMatchObject({ changed: 0, unknown: 1 });
  });

  test("counts no calls: unknown where `calls` decides, and limits are said not to be counted", async () => {
    await recorded(["read", "{}"]);
    write("agent: bot\nallow: [{ action: files__read, when: 'calls.hour < 3' }]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 0, unknown: 1 });
    write("agent: bot\nallow: [files__read]\nlimits: [{ action: '*', calls: 1, per: 1h }]\n");
    expect(documents(await replayed()).at(-1)).toMatchObject({ changed: 1, unknown: 0, limited: 1 });
  });

  test("says it to people too", async () => {
    await recorded(["read", "{}"]);
    write("agent: bot\nallow: [files__read]\n");
    const { stdout } = await replayed({ json: false });
    expect(stdout).toMatch(/files__read +REVIEW → ALLOW {2}by bot.yaml:2 allow files__read/);
    expect(stdout).toContain("Of 1 call: 0 the same, 1 changed, 0 unknown.");
  });
});
