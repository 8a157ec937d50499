// biome-ignore-all lint/suspicious/noTemplateCurlyInString: variables are substituted by what is tested
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Config, HttpServer, StdioServer } from "../src/config.js";
import { loadConfig } from "../src/config-file.js";
import { deriveKey, wrapConfig } from "../src/config-wrap.js";
import { AegisError } from "../src/errors.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "aegis-config-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const env = { TOKEN: "s3cret", EMPTY: "" };

function load(
  text: string,
  name = "aegis.yaml",
  warn: (sentence: string) => void = () => {},
): Promise<Config> {
  const file = join(folder, name);
  writeFileSync(file, text);
  return loadConfig(file, env, { warn });
}

/** `line:column: message` of the refusal, and its hint. */
async function refused(
  text: string,
  name = "aegis.yaml",
): Promise<{ message: string; hint: string | undefined }> {
  const thrown: unknown = await load(text, name).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(thrown instanceof AegisError)) throw new Error(`expected an AegisError, got ${String(thrown)}`);
  expect(thrown.code).toBe("config_invalid");
  expect(thrown.message.startsWith(`${join(folder, name)}:`)).toBe(true);
  return { message: thrown.message.slice(join(folder, name).length + 1), hint: thrown.hint };
}

const one = "servers:\n  files: { command: x }\n";

describe("aegis.yaml", () => {
  it("is read as the design page shows it", async () => {
    const config = await load(`
agent: claude-desktop
policies: ./policies
servers:
  files:  { command: npx, args: [-y, "@modelcontextprotocol/server-filesystem", ./docs, ../up, /srv/docs], cwd: ./run, timeout: 90s }
  github: { url: "https://api.example.com/mcp", headers: { Authorization: "Bearer \${TOKEN}" } }
http: { listen: 127.0.0.1:8100, auth: token }
hold: { wait: 250ms, expires: 7d }
limits: { frame: 1MiB, sessions: 5, session_idle: 1h }
methods: [acme/do]
`);
    expect(config.file).toBe(join(folder, "aegis.yaml"));
    expect(config.agent).toBe("claude-desktop");
    expect(config.policies).toBe(join(folder, "policies"));
    expect(config.http).toEqual({ host: "127.0.0.1", port: 8100 });
    expect(config.hold).toEqual({ wait: 250, expires: 604_800_000 });
    expect(config.limits).toEqual({ frame: 1_048_576, sessions: 5, sessionIdle: 3_600_000 });
    expect(config.methods).toEqual(["acme/do"]);
    expect(config.servers.get("files")).toEqual({
      key: "files",
      kind: "stdio",
      command: "npx",
      args: [
        "-y",
        "@modelcontextprotocol/server-filesystem",
        join(folder, "docs"),
        join(folder, "../up"),
        "/srv/docs",
      ],
      env: new Map(),
      cwd: join(folder, "run"),
      timeout: 90_000,
      startTimeout: 15_000,
      concurrency: 64,
    });
    const github = config.servers.get("github") as HttpServer;
    expect(github.url.href).toBe("https://api.example.com/mcp");
    expect(github.headers.get("authorization")).toBe("Bearer s3cret");
  });

  it("has defaults for everything but its servers", async () => {
    expect(await load(one)).toMatchObject({
      agent: null,
      policies: null,
      http: null,
      hold: { wait: 45_000, expires: 3_600_000 },
      limits: { frame: 16_777_216, sessions: 1000, sessionIdle: 1_800_000 },
      methods: [],
    });
  });

  it("keeps numbers in texts as they are written, and $$ as a dollar sign", async () => {
    const config = await load(
      "servers:\n  a: { command: x, args: [08, 1.0, 9007199254740993, '$${TOKEN} costs $5'], env: { P: 1e3, E: '' } }\n",
    );
    const server = config.servers.get("a") as StdioServer;
    expect(server.args).toEqual(["08", "1.0", "9007199254740993", "${TOKEN} costs $5"]);
    expect([...server.env]).toEqual([
      ["P", "1e3"],
      ["E", ""],
    ]);
  });

  it("turns a secret in a URL into an Authorization header", async () => {
    const config = await load("servers:\n  a: { url: 'https://user:p%40ss@example.com/mcp' }\n");
    const server = config.servers.get("a") as HttpServer;
    expect(server.url.href).toBe("https://example.com/mcp");
    expect(server.headers.get("authorization")).toBe(`Basic ${Buffer.from("user:p@ss").toString("base64")}`);
  });

  it.each([
    [`agnt: x\n${one}`, '1:1: unknown key "agnt"', "Did you mean agent?"],
    [
      "servers:\n  files: { command: x, arg: [] }\n",
      '2:24: unknown key "arg" in servers.files',
      "Did you mean args?",
    ],
    [
      "servers:\n  files:\n    comand: x\n",
      '3:5: unknown key "comand" in servers.files',
      "Did you mean command?",
    ],
    [
      `${one}hold:\n  wait: 45\n`,
      "4:9: hold.wait must be a duration such as 250ms, 45s, 10m, 1h or 7d",
      undefined,
    ],
    [`${one}hold: { wait: 30d }\n`, "3:15: hold.wait is too long", undefined],
    [
      `${one}limits: { frame: 16MB }\n`,
      "3:18: limits.frame must be a size from 1024 to 268435456 bytes, such as 16MiB",
      undefined,
    ],
    [`${one}http: { listen: 127.0.0.1:8100, auth: none }\n`, "3:39: http.auth can only be token", undefined],
    [
      `${one}agent: "a\\u202eb"\n`,
      '3:8: the agent\'s name "a\\u202eb" holds characters that cannot be seen',
      undefined,
    ],
    [
      `${one}methods: [tools/call]\n`,
      "3:10: tools/call is governed by policy and cannot be listed",
      undefined,
    ],
    [
      "servers:\n  My_Server: { command: x }\n",
      "2:3: a server's key is lower-case letters and digits, joined by single _ or -, and not sdk",
      "Write my_server.",
    ],
    [
      "servers:\n  sdk: { command: x }\n",
      "2:3: a server's key is lower-case letters and digits, joined by single _ or -, and not sdk",
      "Write sdk-server.",
    ],
    [
      "servers:\n  a__b: { command: x }\n",
      "2:3: a server's key is lower-case letters and digits, joined by single _ or -, and not sdk",
      "Write a-b.",
    ],
    [
      "servers:\n  a: { command: x, url: 'http://h/' }\n",
      "2:6: servers.a needs either command (started here) or url (spoken to over HTTP)",
      undefined,
    ],
    [
      "servers:\n  a: { url: 'file:///etc/passwd' }\n",
      "2:13: servers.a.url must begin with http:// or https://",
      undefined,
    ],
    ["servers:\n  a: { url: 'not a url' }\n", "2:13: servers.a.url is not a URL", undefined],
    [
      "servers:\n  a: { url: 'http://h/', headers: { Host: x } }\n",
      "2:37: the header Host is set by the gateway itself",
      undefined,
    ],
    [
      "servers:\n  a: { url: 'http://h/', headers: { X: \"a\\r\\nB: c\" } }\n",
      "2:40: the header X holds characters that HTTP does not allow",
      undefined,
    ],
    [
      "servers:\n  a: { command: x, args: [a, '${NOT_SET}'] }\n",
      "2:30: servers.a.args[1]: the environment variable NOT_SET is not set",
      undefined,
    ],
    [
      "servers:\n  a: { command: x, args: ['${EMPTY}'] }\n",
      "2:27: servers.a.args[0]: the environment variable EMPTY is empty",
      undefined,
    ],
    [
      "servers:\n  a: { command: x, args: ['${TOKEN'] }\n",
      "2:27: servers.a.args[0]: a ${ without its }; a dollar sign is written $$",
      undefined,
    ],
    ["servers:\n  a: { command: ~ }\n", "2:17: servers.a.command has no value", undefined],
    ["servers:\n  a: { command: x }\n  a: { command: y }\n", '3:3: the key "a" is there twice', undefined],
    ["servers: {}\n", "1:10: servers is empty: there is nothing to govern", undefined],
    ["agent: x\n", "1:1: servers is missing: there is nothing to govern", undefined],
    [`${one}policies: ~/p\n`, "3:11: ~ is not expanded here", "Write ${HOME}/p."],
    ["mcpServers: {}\n", "1:1: mcpServers belongs to a client's own file", "Give that file a name in .json."],
    ["- a\n", "1:1: expected a mapping of settings at the top of the file", undefined],
    ["", "1:1: the file is empty", undefined],
    ["servers:\n\ta: 1\n", "2:1: Tabs are not allowed as indentation", undefined],
    ["servers: {\n", "2:1: ", undefined],
    ["a: 1\n---\nb: 2\n", "2:1: Source contains multiple documents", undefined],
    ["servers: !!js/function x\n", "1:10: Unresolved tag", undefined],
  ])("refuses %j", async (text, message, hint) => {
    const refusal = await refused(text);
    expect(refusal.message).toContain(message);
    expect(refusal.message.startsWith(message.slice(0, 4))).toBe(true);
    if (hint !== undefined) expect(refusal.hint).toBe(hint);
  });

  it("listens on this machine only", async () => {
    for (const host of ["0.0.0.0", "192.168.1.5", "example.com", "[::]"]) {
      expect((await refused(`${one}http: { listen: "${host}:8100" }\n`)).message).toContain(
        "beyond this machine",
      );
    }
    for (const host of ["127.8.8.8", "localhost", "[::1]"]) {
      expect((await load(`${one}http: { listen: "${host}:8100" }\n`)).http?.port).toBe(8100);
    }
  });

  it("never shows a value it took from the environment", async () => {
    for (const text of [
      "servers:\n  a: { url: '${TOKEN}' }\n",
      "servers:\n  a: { url: 'ftp://u:${TOKEN}@h/' }\n",
      `${one}hold: { wait: '\${TOKEN}' }\n`,
      "servers:\n  a: { url: 'http://h', headers: { X: '${TOKEN}\\u0001' } }\n",
      "servers:\n  a: { url: 'http://u:${TOKEN}%ff@h', headers: {} }\n",
    ]) {
      expect((await load(text).catch((thrown: Error) => thrown.message)) as string).not.toContain("s3cret");
    }
  });

  it("is not grown by aliases, nor polluted by keys", async () => {
    const bomb = `a: &a [x,x]\n${one}methods: [*a, *a]\n`;
    expect((await refused(bomb)).message).toContain('1:1: unknown key "a"');
    expect((await refused("servers:\n  a: { command: &x y, args: [*x] }\n")).message).toBe(
      "2:30: anchors and aliases are not read here: write the value out",
    );
    const config = await load("servers:\n  a: { command: x, env: { __proto__: 1, constructor: 2 } }\n");
    expect([...(config.servers.get("a") as StdioServer).env.keys()]).toEqual(["__proto__", "constructor"]);
    expect((await refused("__proto__: { allow: true }\n")).message).toContain('1:1: unknown key "__proto__"');
    expect(Object.hasOwn(Object.prototype, "allow")).toBe(false);
  });

  it("refuses deep nesting at once", async () => {
    const from = performance.now();
    for (const text of ["[".repeat(500_000), "a: {".repeat(200_000), "- ".repeat(400_000)]) {
      expect((await refused(text)).message).toBe("1: it is nested too deeply");
    }
    expect(performance.now() - from).toBeLessThan(1000);
  });

  it("has to be a small regular file of UTF-8 text", async () => {
    const at = (name: string): string => join(folder, name);
    mkdirSync(at("dir.yaml"));
    symlinkSync("/dev/zero", at("zero.yaml"));
    symlinkSync("nowhere", at("dangling.yaml"));
    writeFileSync(at("big.yaml"), "#".repeat(1024 * 1024 + 1));
    writeFileSync(at("latin.yaml"), Buffer.from([0x61, 0xff]));
    for (const [name, reason] of [
      ["dir.yaml", "it is a directory, not a file"],
      ["zero.yaml", "it is not a regular file"],
      ["dangling.yaml", "it does not exist"],
      ["none.yaml", "it does not exist"],
      ["big.yaml", "it is larger than 1 MiB"],
      ["latin.yaml", "it is not UTF-8 text"],
    ] as const) {
      await expect(loadConfig(at(name), env)).rejects.toMatchObject({
        code: "config_invalid",
        message: `${at(name)}: ${reason}`,
      });
    }
  });
});

describe("a client's own JSON file", () => {
  it("gives its servers and nothing else, with comments, tabs and trailing commas as clients allow them", async () => {
    const warnings: string[] = [];
    const config = await load(
      `{
\t"globalShortcut": "x", /* the client's */
\t"mcpServers": {
\t\t// a comment with "quotes"
\t\t"files": { "command": "npx", "args": ["-y", "a//b", "./rel"], "env": { "T": "\${TOKEN}", "U": "\${env:TOKEN}", "V": "\${NO:-x}" }, "autoApprove": ["x"], },
\t\t"My Search": { "type": "http", "url": "https://u:p@example.com/mcp" },
\t\t"off": { "command": "x", "disabled": true },
\t},
}`,
      "claude_desktop_config.json",
      (sentence) => warnings.push(sentence),
    );
    expect([...config.servers.keys()]).toEqual(["files", "my-search"]);
    expect(config.agent).toBeNull();
    const files = config.servers.get("files") as StdioServer;
    expect(files.args).toEqual(["-y", "a//b", "./rel"]);
    expect([...files.env.values()]).toEqual(["s3cret", "s3cret", "x"]);
    expect((config.servers.get("my-search") as HttpServer).headers.get("authorization")).toMatch(/^Basic /);
    expect(warnings).toEqual([
      'the server "My Search" is called my-search here: write my-search__TOOL in policies',
      'the entry "off" is passed over: it is disabled',
    ]);
  });

  it("is passed over where it starts aegis already", async () => {
    const warnings: string[] = [];
    const entries = {
      a: { command: "aegis", args: ["gateway", "--config", "x"] },
      b: { command: "npx", args: ["-y", "aegis-sentinel@1.2.3", "wrap", "--", "x"] },
      c: { command: "/usr/bin/node", args: ["/opt/a/dist/cli/main.js", "gateway"] },
      d: { url: "http://127.0.0.1:8100/mcp" },
      e: { url: "http://localhost:8100/mcp/files" },
      f: { command: "C:\\bin\\sentinel.cmd", args: ["wrap"] },
      keep1: { command: "node", args: ["/opt/other/cli/main.js", "serve"] },
      keep2: { url: "http://127.0.0.1:9000/mcp" },
      keep3: { url: "https://example.com:8100/mcp" },
    };
    const config = await load(JSON.stringify({ servers: entries }), "mcp.json", (sentence) =>
      warnings.push(sentence),
    );
    expect([...config.servers.keys()]).toEqual(["keep1", "keep2", "keep3"]);
    expect(warnings).toHaveLength(6);
  });

  it("is refused where two names would be one key, or only the client knows a value", async () => {
    const same = '{"mcpServers": {"a b": {"command": "x"},\n "a.b": {"command": "y"}}}';
    expect((await refused(same, "c.json")).message).toBe('2:2: "a.b" and "a b" would both be the server a-b');
    const input = '{"servers": {"x": {"url": "https://a/b", "headers": {"A": "${input:key}"}}}}';
    expect((await refused(input, "c.json")).message).toContain(
      "1:59: servers.x.headers.A: ${input:key} can only",
    );
    expect((await refused('{"other": 1}', "c.json")).message).toContain("neither mcpServers nor servers");
    expect(
      (await refused('{"mcpServers": {"d": {"url": "http://127.0.0.1:8100/mcp"}}}', "c.json")).message,
    ).toContain("holds no server");
    expect(
      (
        await refused(
          '{"mcpServers": {"__proto__": {"command": "x"}, "\\u0000": {"command": "x"}}}',
          "c.json",
        )
      ).message,
    ).toContain("no letter or digit");
  });
});

describe("wrap", () => {
  it.each([
    ["npx -y @modelcontextprotocol/server-filesystem@1 /x", "filesystem"],
    ["node /a/node_modules/@modelcontextprotocol/server-everything/dist/index.js stdio", "everything"],
    ["npx @playwright/mcp@latest", "playwright"],
    ["uvx mcp-server-git --repository /r", "git"],
    ["python -m mcp_server_time", "time"],
    ["docker run -i --rm -e TOKEN mcp/fetch:1", "fetch"],
    ["npx -y My_Thing-MCP", "my_thing"],
    ["/usr/local/bin/node ./server.js", "server"],
    ["docker run -i", "server"],
    ["node", "server"],
  ])("calls the server of %j %s", (command, key) => {
    expect(deriveKey(command.split(" "))).toBe(key);
  });

  it("gives the server its own environment without the variables of aegis", () => {
    const config = wrapConfig("x", ["y"], {
      server: "files",
      env: { PATH: "/bin", AEGIS_TOKEN: "t", API_KEY: "k" },
    });
    const server = config.servers.get("files") as StdioServer;
    expect([...server.env]).toEqual([
      ["PATH", "/bin"],
      ["API_KEY", "k"],
    ]);
    expect(server).toMatchObject({ command: "x", args: ["y"], cwd: undefined });
    expect(config.file).toBeNull();
  });

  it("refuses a key that is none", () => {
    expect(() => wrapConfig("x", [], { server: "A__b" })).toThrow(expect.objectContaining({ code: "usage" }));
  });
});
