import { hash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import { type AddOptions, run } from "../../src/cli/policy/add.js";
import { addRule, newPolicy } from "../../src/cli/policy/edit.js";
import { canonicalText } from "../../src/frame/canonical.js";
import { createLogger } from "../../src/log.js";
import { decide } from "../../src/policy/decide.js";
import { loadPolicies, parsePolicy, policySet } from "../../src/policy/file/load.js";
import { intent, person } from "../fixtures/backend/store.js";
import { type Ended, inProcess } from "../fixtures/command.js";

let home: string;
let folder: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "aegis-add-"));
  chmodSync(home, 0o700);
  folder = join(home, "policies");
  mkdirSync(folder);
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const file = (name = "bot.yaml"): string => join(folder, name);
const add = (options: AddOptions): Promise<Ended> => inProcess(run, home, options);

/** A held call of `files__write` with these arguments; its approval's number. With an end, what becomes of it. */
async function held(text: string, end?: "denied"): Promise<number> {
  const log = createLogger("silent");
  const backend = await openBackend({ home, policies: policySet([]), holdExpires: 60_000, log });
  try {
    await backend.ensureAgent("bot");
    const gateway = await backend.attach({ pid: process.pid, label: "test", address: null });
    const { approval } = await backend.decide(intent(gateway, "write", text, { agent: "bot" }));
    if (approval === undefined) throw new Error("the call was not held");
    if (end !== undefined) await backend.decideApproval(approval.id, end, person(), "");
    return approval.id;
  } finally {
    await backend.close();
  }
}

/** What a gateway has seen of `files__write`. */
async function see(description: string): Promise<void> {
  const log = createLogger("silent");
  const backend = await openBackend({ home, policies: policySet([]), holdExpires: 60_000, log });
  const text = JSON.stringify({ name: "write", description });
  await backend.ensureAgent("bot");
  const tools = [{ name: "write", definition: hash("sha256", canonicalText(text)), text }];
  await backend.sight({ agent: "bot", server: "files", tools, instructions: null });
  await backend.close();
}

async function decided(args: unknown, action = "files__write"): Promise<string> {
  const set = await loadPolicies(folder, { bareNames: false });
  const [server = "", tool = ""] = action.split("__");
  return decide(set, { agent: "bot", server, tool, action, args, now: Date.now() }).decision;
}

describe("a rule goes into the agent's file", () => {
  const written = `# who may what
agent:   bot   # ours
default: review

allow:
# reading
- files__read   # harmless

block: ["*__delete_*"]
`;

  test("at the end of its list; comments, order and everything else stay byte for byte", () => {
    expect(addRule(written, "allow", { action: "files__write" })).toBe(
      written.replace("# harmless\n", "# harmless\n- files__write\n"),
    );
    expect(addRule(written, "block", { action: "files__write", reason: "no" })).toBe(
      written.replace('"*__delete_*"]', '"*__delete_*", { action: files__write, reason: no }]'),
    );
    expect(addRule(written, "review", { action: "files__write", when: 'args.x == "a: b"' })).toBe(
      `${written}\nreview:\n  - action: files__write\n    when: 'args.x == "a: b"'\n`,
    );
  });

  test.each([
    ["an empty list", "agent: bot\nallow: []\n"],
    ["a list with nothing but comments", "agent: bot\nallow:\n  # - files__read\n\nblock:\n"],
    ["a list under another name", "agent: bot\nallowed_actions:\n    - files__read"],
    ["Windows' line ends", "agent: bot\r\nallow:\r\n  - files__read\r\n"],
    ["a flow list over several lines", "agent: bot\nallow: [\n  files__read, # yes\n]\n"],
    ["no list at all", "agent: bot"],
  ])("also into %s", (_what, text) => {
    const before = parsePolicy(text, "bot.yaml", { bareNames: false }).rules;
    const rule = { action: "files__write", when: 'args.path == "/a, [b]: {c} # d"', reason: "so: yes" };
    const { rules } = parsePolicy(addRule(text, "allow", rule), "bot.yaml", { bareNames: false });
    expect(rules).toHaveLength(before.length + 1);
    expect(rules.filter(({ pattern }) => pattern === "files__write")).toMatchObject([
      { list: "allow", when: rule.when, reason: rule.reason },
    ]);
  });

  test("but not into lists that are shared: the rule would be in both", () => {
    const text = "agent: bot\nblock: &list\n  - files__read\nallow: *list\n";
    for (const list of ["allow", "block"] as const)
      expect(() => addRule(text, list, { action: "files__write" })).toThrow("by aliases");
  });

  test("which is made where there is none", () => {
    const text = newPolicy("bot #1: x", "review", { action: "files__*" });
    expect(parsePolicy(text, "x.yaml", { bareNames: false })).toMatchObject({
      agent: "bot #1: x",
      rules: [{ list: "review", pattern: "files__*" }],
    });
  });
});

describe("from an approval", () => {
  test("shows the diff first, asks nobody where nobody is, and writes with --yes", async () => {
    writeFileSync(file(), "agent: bot\n# mine\nallow:\n  - files__read\n", { mode: 0o640 });
    const from = await held('{"path":"/srv/a.txt"}');
    const refused = await add({ from, allow: true });
    expect(refused.code).toBe(2);
    expect(refused.stdout).toContain("+  - files__write\n");
    expect(refused.stdout).toContain("was REVIEW, then ALLOW by bot.yaml:5 allow files__write");
    expect(refused.stderr).toContain("--yes");
    const shown = await add({ from, allow: true, dryRun: true });
    expect(shown.code).toBe(0);
    expect(await decided({})).toBe("REVIEW");

    expect(await add({ from, allow: true, yes: true })).toMatchObject({ code: 0, stderr: "" });
    expect(readFileSync(file(), "utf8")).toBe(
      "agent: bot\n# mine\nallow:\n  - files__read\n  - files__write\n",
    );
    expect(statSync(file()).mode & 0o777).toBe(0o640);
    expect(readdirSync(folder)).toEqual(["bot.yaml"]);
    expect(await decided({})).toBe("ALLOW");
  });

  test("--exact holds for these very arguments and no others", async () => {
    const text = '{"path":"/srv/a \\"b\\"\\u2028.txt","n":1,"deep":{"list":[1.5,true,null,"x"]}}';
    const from = await held(text);
    expect(await add({ from, allow: true, exact: true, yes: true })).toMatchObject({ code: 0 });
    const exact = JSON.parse(text) as Record<string, unknown>;
    expect(await decided(exact)).toBe("ALLOW");
    for (const other of [
      { ...exact, path: "/srv/b.txt" },
      { ...exact, n: 2 },
      { ...exact, more: 1 },
      { path: exact.path, n: 1 },
      { ...exact, deep: { list: [1.5, true, null, "y"] } },
      { ...exact, n: "1" },
    ])
      expect(await decided(other)).not.toBe("ALLOW");
  });

  test("--exact is refused where the arguments were redacted, or cannot be compared", async () => {
    const gone = await held('{"path":"/srv/a.txt","password":"hunter2"}', "denied");
    const redacted = await add({ from: gone, allow: true, exact: true, yes: true });
    expect(redacted.code).toBe(2);
    expect(redacted.stderr).toContain("only an open one still has them");
    const large = await held('{"id":9007199254740993}');
    expect((await add({ from: large, allow: true, exact: true, yes: true })).code).toBe(2);
    expect(existsSync(file())).toBe(false);
    const whole = await held('{"path":"/srv/a.txt"}', "denied");
    expect((await add({ from: whole, allow: true, exact: true, yes: true })).code).toBe(0);
  });

  test("--pattern reaches further, and must match what it is made from", async () => {
    const from = await held("{}");
    expect((await add({ from, block: true, pattern: "mail__*", yes: true })).stderr).toContain(
      "does not match",
    );
    expect((await add({ from, block: true, pattern: "files__w*", yes: true })).code).toBe(0);
    expect(await decided({}, "files__wipe")).toBe("BLOCK");
  });

  test("says where a stronger rule still decides", async () => {
    writeFileSync(file(), 'agent: bot\nblock: ["files__*"]\n');
    const from = await held("{}");
    const { stderr } = await add({ from, allow: true, yes: true });
    expect(stderr).toContain("bot.yaml:2 block files__* is stronger");
  });

  test("writes no rule twice, and says why the call is held all the same", async () => {
    const text = "agent: bot\nallow:\n  - files__write\n";
    writeFileSync(file(), text);
    await see("Writes");
    const from = await held("{}");
    await see("Writes what it likes");
    const again = await add({ from, allow: true, yes: true });
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(again.stdout).toContain("the rule is there already, bot.yaml:3 allow files__write.");
    expect(again.stdout).toContain("Still REVIEW.");
    expect(again.stdout).toContain('"aegis tools accept files write"');
    expect(readFileSync(file(), "utf8")).toBe(text);
    const [json] = [await add({ from, allow: true, json: true })];
    expect(JSON.parse(json.stdout)).toMatchObject({
      written: false,
      standing: "bot.yaml:3 allow files__write",
      tool_state: "changed",
      effect: { was: "REVIEW", decision: "REVIEW" },
    });

    // Another condition, or a rule in shadow, is not the same.
    expect((await add({ from, allow: true, exact: true, yes: true })).stdout).toContain("Written to");
    writeFileSync(file(), "agent: bot\nallow:\n  - { action: files__write, shadow: true }\n");
    const held2 = await add({ from, allow: true, yes: true });
    expect(held2.stdout).toContain("was REVIEW, then REVIEW\n");
    expect(held2.stderr).toContain("does not decide this call: A person must decide");
    expect(readFileSync(file(), "utf8")).toContain("  - files__write\n");
  });

  test.skipIf(process.platform === "win32")("says where gateways will refuse the change", async () => {
    writeFileSync(file(), "agent: bot\n");
    chmodSync(file(), 0o664);
    const from = await held("{}");
    const { code, stdout, stderr } = await add({ from, allow: true, yes: true });
    expect(code).toBe(0);
    expect(stdout).not.toContain("at once");
    expect(stderr).toMatch(/refuse the change.*bot\.yaml can be written by others.*chmod go-w/);
    chmodSync(file(), 0o640);
    expect((await add({ from, block: true, yes: true })).stdout).toContain("at once");
  });

  test("shows no line ends of Windows", async () => {
    writeFileSync(file(), "agent: bot\r\nallow:\r\n  - files__read\r\n");
    const { stdout } = await add({ from: await held("{}"), allow: true, yes: true });
    expect(stdout).toContain("+  - files__write\n");
    expect(stdout).not.toContain("x0d");
    expect(readFileSync(file(), "utf8")).toBe(
      "agent: bot\r\nallow:\r\n  - files__read\r\n  - files__write\r\n",
    );
  });

  test("a held result is refused: no rule for calls decides it", async () => {
    const policy = "agent: bot\ndata:\n  - { detect: custom, name: pay, pattern: pay, then: review }\n";
    const policies = policySet([parsePolicy(policy, "bot.yaml", { bareNames: false })]);
    const log = createLogger("silent");
    const backend = await openBackend({ home, policies, holdExpires: 60_000, log });
    await backend.ensureAgent("bot");
    const gateway = await backend.attach({ pid: process.pid, label: "test", address: null });
    const call = intent(gateway, "write", '{"result":"pay"}', { agent: "bot" });
    const { approval } = await backend.decide({ ...call, call: `${call.call}.result`, stage: "result" });
    await backend.close();
    const from = approval?.id ?? 0;
    const refused = await add({ from, allow: true, yes: true });
    expect(refused).toMatchObject({ code: 2, stdout: "" });
    expect(refused.stderr).toContain(`Approval ${from} is about the result of a call that has run`);
    expect(refused.stderr).toContain("the rule bot.yaml:3 data pay");
    expect(existsSync(file())).toBe(false);
  });

  test("an approval that is not there is an error", async () => {
    await held("{}");
    expect((await add({ from: 99, allow: true, yes: true })).code).toBe(1);
  });
});

describe("for an action", () => {
  test("makes the agent's file", async () => {
    const options = { agent: "bot", action: "files__read", allow: true, reason: "it is safe", yes: true };
    expect((await add(options)).code).toBe(0);
    expect(readFileSync(file(), "utf8")).toBe(
      "agent: bot\n\nallow:\n  - action: files__read\n    reason: it is safe\n",
    );
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  test("writes nothing that would not load", async () => {
    writeFileSync(file(), "agent: bot\n");
    const options = { agent: "bot", action: "files__read", allow: true, yes: true };
    const broken = await add({ ...options, when: "args.path.startsWith(" });
    expect(broken.code).toBe(1);
    expect(broken.stderr).toContain("bot.yaml:");
    expect(readFileSync(file(), "utf8")).toBe("agent: bot\n");
    expect((await add({ ...options, when: 'args.path == "/a"' })).code).toBe(0);
    expect(await decided({ path: "/a" }, "files__read")).toBe("ALLOW");
  });

  test.each([
    ["two lists", { agent: "bot", action: "a__b", allow: true, block: true }],
    ["no list", { agent: "bot", action: "a__b" }],
    ["no agent", { action: "a__b", allow: true }],
    ["a bare name", { agent: "bot", action: "b", allow: true }],
    ["arguments nobody has", { agent: "bot", action: "a__b", allow: true, exact: true }],
    ["a pattern as agent", { agent: "*", action: "a__b", allow: true }],
  ])("%s is wrong usage", async (_what, options) => {
    expect((await add({ ...options, yes: true })).code).toBe(2);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a file of another agent is not written to", async () => {
    writeFileSync(file("other.yaml"), "agent: other\n");
    const options = { agent: "bot", action: "a__b", allow: true, file: file("other.yaml"), yes: true };
    expect((await add(options)).stderr).toContain("is for the agent other, not bot");
  });

  test("a backend somewhere else is not meant by AEGIS_HOME/policies", async () => {
    const options = { agent: "bot", action: "a__b", allow: true, backend: "http://127.0.0.1:9", yes: true };
    expect((await add(options)).stderr).toContain("has policies of its own");
    expect((await add({ ...options, policies: folder })).code).toBe(0);
  });

  test("--json prints one document", async () => {
    const { stdout } = await add({ agent: "bot", action: "a__b", allow: true, dryRun: true, json: true });
    expect(JSON.parse(stdout)).toMatchObject({
      file: file(),
      list: "allow",
      action: "a__b",
      written: false,
      diff: expect.stringContaining("+  - a__b"),
      effect: { was: "REVIEW", decision: "ALLOW", rule: "bot.yaml:4 allow a__b" },
    });
  });
});
