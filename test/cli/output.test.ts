import { describe, expect, it } from "vitest";
import { indentJson } from "../../src/cli/approvals/indent-json.js";
import { clientEntries } from "../../src/cli/client-entries.js";
import { approvalJson } from "../../src/cli/json.js";
import { relativeTime, terminalJson } from "../../src/cli/output.js";
import type { Approval } from "../../src/client/backend.js";
import { noRequirement } from "../../src/requirement.js";
import { nearest } from "../../src/suggest.js";
import { visible } from "../../src/visible.js";

describe("foreign text", () => {
  it.each([
    ["\x1b[2J", "\\x1b[2J"],
    ["a\rb\nc\td", "a\\x0db\\x0ac\\x09d"],
    ["\u009b2J", "\\x9b2J"],
    ["DENY\u202eWOLLA", "DENY\\u202eWOLLA"],
    ["zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"],
    ["tag\u{e0041}", "tag\\u{e0041}"],
    ["line\u2028end", "line\\u2028end"],
    ["naïve 日本 😀", "naïve 日本 😀"],
  ])("%j is shown as %j", (text, shown) => {
    expect(visible(text)).toBe(shown);
  });

  it("is escaped in JSON too, without changing its value", () => {
    const value = { a: "\u009b2J\u202e\u{e0041}\x1b", b: "é😀" };
    const text = terminalJson(JSON.stringify(value));
    expect(visible(text)).toBe(text);
    expect(JSON.parse(text)).toEqual(value);
  });
});

describe("the arguments of an approval", () => {
  const approval = {
    id: 7,
    agent: '"arguments":null',
    requirement: noRequirement,
    votes: [] as Approval["votes"],
    arguments: '{"n": 9007199254740993,\n "f": 1.0, "s": "$& \\u202e"}',
  } as Approval;

  it("stand in JSON as they were written", () => {
    const text = terminalJson(approvalJson(approval));
    expect(text).toContain('"arguments":{"n": 9007199254740993,  "f": 1.0, "s": "$& \\u202e"}');
    expect(text).not.toContain("\n");
    expect(JSON.parse(text)).toMatchObject({ id: 7, agent: '"arguments":null', arguments: { f: 1 } });
  });

  it("are null where the call had none, and a text where they are not JSON", () => {
    expect(JSON.parse(approvalJson({ ...approval, arguments: "" }))).toMatchObject({ arguments: null });
    expect(JSON.parse(approvalJson({ ...approval, arguments: "{cut" }))).toMatchObject({ arguments: "{cut" });
  });

  it("are shown to people line by line, numbers and escapes as written", () => {
    expect(indentJson('{"a":[1.0,9007199254740993,{}],"b":"x\\n, {y}","c":[]}')).toEqual([
      "{",
      '  "a": [',
      "    1.0,",
      "    9007199254740993,",
      "    {}",
      "  ],",
      '  "b": "x\\n, {y}",',
      '  "c": []',
      "}",
    ]);
    expect(indentJson('"text"')).toEqual(['"text"']);
    expect(indentJson("{}")).toEqual(["{}"]);
  });
});

it("times are told from now", () => {
  const now = Date.parse("2026-01-01T00:00:00.000Z");
  const at = (seconds: number): string => relativeTime(new Date(now + seconds * 1000).toISOString(), now);
  expect([at(-1), at(-30), at(-600), at(-7200), at(-864_000), at(3300)]).toEqual([
    "now",
    "30 s ago",
    "10 min ago",
    "2 h ago",
    "10 d ago",
    "in 55 min",
  ]);
});

it("what was probably meant is near", () => {
  const known = ["command", "args", "agent"];
  expect(nearest("comand", known)).toBe("command");
  expect(nearest("agnet", known)).toBe("agent");
  expect(nearest("url", known)).toBeNull();
  expect(nearest("", known)).toBeNull();
});

it("entries for clients are what each client reads", () => {
  const entries = clientEntries({
    url: "http://127.0.0.1:8100/mcp",
    token: "tok",
    node: "/usr/bin/node",
    script: "/r/dist/cli/main.js",
    config: "/r/aegis.yaml",
    home: "/h/.aegis",
  });
  expect(JSON.parse(entries.claudeDesktop)).toMatchObject({
    mcpServers: {
      aegis: {
        command: "/usr/bin/node",
        args: ["/r/dist/cli/main.js", "gateway", "--config", "/r/aegis.yaml"],
        env: { AEGIS_HOME: "/h/.aegis" },
      },
    },
  });
  expect(entries.claudeCode).toBe(
    'claude mcp add --transport http aegis http://127.0.0.1:8100/mcp --header "Authorization: Bearer tok"',
  );
  const http = { url: "http://127.0.0.1:8100/mcp", headers: { Authorization: "Bearer tok" } };
  expect(JSON.parse(entries.cursor)).toEqual({ mcpServers: { aegis: http } });
  expect(JSON.parse(entries.vsCode)).toEqual({ servers: { aegis: { type: "http", ...http } } });
});
