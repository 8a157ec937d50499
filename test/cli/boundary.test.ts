import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkBoundary, type Finding } from "../../src/cli/boundary.js";
import type { Config } from "../../src/config.js";
import { emptyConfig } from "../../src/config-file.js";

let root: string;
const at = (...parts: string[]): string => join(root, ...parts);

beforeAll(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), "aegis-boundary-")));
  for (const folder of ["user/.aegis/policies", "user/work/docs", "user/conf", "rules", "elsewhere"]) {
    mkdirSync(at(folder), { recursive: true });
  }
  writeFileSync(at("user/conf/aegis.yaml"), "");
  writeFileSync(at("rules/a.yaml"), "");
  symlinkSync(at("user"), at("elsewhere/link"));
  symlinkSync(at("user/.aegis"), at("user/work/home-link"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Given {
  readonly args?: readonly string[];
  readonly command?: string;
  readonly cwd?: string | undefined;
  readonly allowHome?: boolean;
}

function check(given: Given): Finding[] {
  const { args = [], command = "node", allowHome = false } = given;
  const cwd = "cwd" in given ? given.cwd : at("user/work/docs");
  const server = { key: "files", kind: "stdio", command, args, env: new Map<string, string>(), cwd } as const;
  const settings = { timeout: 1, startTimeout: 1, concurrency: 1 };
  const config: Config = {
    ...emptyConfig(at("user/conf/aegis.yaml")),
    servers: new Map([["files", { ...server, ...settings }]]),
  };
  return checkBoundary(config, { home: at("user/.aegis"), policies: at("rules"), allowHome });
}

describe("a server is refused where it is given", () => {
  it.each<[string, () => Given, string]>([
    ["AEGIS_HOME", () => ({ args: [at("user/.aegis")] }), "is AEGIS_HOME"],
    ["a folder above it", () => ({ args: ["-y", at("user")] }), "holds AEGIS_HOME"],
    ["the root of the disk", () => ({ args: ["/"] }), "holds AEGIS_HOME"],
    ["something in it", () => ({ args: [at("user/.aegis/policies")] }), "lies in AEGIS_HOME"],
    [
      "something in it that is not there yet",
      () => ({ args: [at("user/.aegis/new/file")] }),
      "lies in AEGIS_HOME",
    ],
    [
      "a relative path to it",
      () => ({ args: [relative(at("user/work/docs"), at("user/.aegis"))] }),
      "is AEGIS_HOME",
    ],
    ["a relative path that needs no dots", () => ({ args: [".aegis"], cwd: undefined }), "is AEGIS_HOME"],
    ["a way through ..", () => ({ args: [`${at("user/work/docs")}/../../.aegis`] }), "is AEGIS_HOME"],
    ["a flag with it", () => ({ args: [`--root=${at("user")}`] }), "holds AEGIS_HOME"],
    ["a file URL of it", () => ({ args: [pathToFileURL(at("user/.aegis")).href] }), "is AEGIS_HOME"],
    [
      "a flag with a file URL",
      () => ({ args: [`--root=${pathToFileURL(at("user")).href}`] }),
      "holds AEGIS_HOME",
    ],
    ["a container's volume", () => ({ args: ["-v", `${at("user")}:/data:rw`] }), "holds AEGIS_HOME"],
    [
      "a container's mount",
      () => ({ args: ["--mount", `type=bind,src=${at("user")},dst=/d`] }),
      "holds AEGIS_HOME",
    ],
    ["a link to a folder above", () => ({ args: [at("elsewhere/link")] }), "holds AEGIS_HOME"],
    ["a link to it", () => ({ args: [at("user/work/home-link")] }), "is AEGIS_HOME"],
    ["the policies", () => ({ args: [at("rules")] }), "is the policies"],
    ["a policy file", () => ({ args: [at("rules/a.yaml")] }), "lies in the policies"],
    ["the configuration", () => ({ args: [at("user/conf/aegis.yaml")] }), "is the configuration"],
    ["the configuration's folder", () => ({ args: [at("user/conf")] }), "holds the configuration"],
    ["a working directory above", () => ({ cwd: at("user") }), "holds AEGIS_HOME"],
    ["a working directory within", () => ({ cwd: at("user/.aegis/policies") }), "lies in AEGIS_HOME"],
    ["a command within", () => ({ command: at("user/.aegis/run") }), "lies in AEGIS_HOME"],
  ])("%s", (_, given, sentence) => {
    const from = process.cwd();
    try {
      // An inherited working directory is the gateway's.
      if ("cwd" in given() && given().cwd === undefined) process.chdir(at("user"));
      expect(() => check(given())).toThrow(
        expect.objectContaining({ code: "home_reachable", message: expect.stringContaining(sentence) }),
      );
    } finally {
      process.chdir(from);
    }
  });
});

it("names the server, the argument, the path, and what to do", () => {
  try {
    check({ args: [at("elsewhere/link")] });
    expect.unreachable();
  } catch (thrown) {
    expect(thrown).toMatchObject({
      message: `The server files is given the argument ${at("elsewhere/link")}, which holds AEGIS_HOME (${at("user/.aegis")}).`,
      hint: expect.stringContaining("--allow-home"),
    });
  }
});

it("lets pass what leads elsewhere", () => {
  const args = [
    "-y",
    "@modelcontextprotocol/server-filesystem",
    at("user/work/docs"),
    at("user/.aegis-other"),
    "--url=https://example.com/",
    "console.log(1) // a comment / with slashes",
    "",
    "file://[bad",
  ];
  expect(check({ args })).toEqual([]);
});

it("starts anyway with --allow-home, and says what it found", () => {
  const findings = check({ args: [at("user")], allowHome: true });
  expect(findings).toEqual([expect.objectContaining({ server: "files", severity: "allowed" })]);
});

it("only warns where the gateway was started above AEGIS_HOME, and refuses where it was started within", () => {
  const from = process.cwd();
  try {
    process.chdir(dirname(at("user")));
    const inherited = { cwd: undefined } as const;
    const config = emptyConfig(null);
    const server = {
      key: "files",
      kind: "stdio",
      command: "x",
      args: [],
      env: new Map<string, string>(),
      timeout: 1,
      startTimeout: 1,
      concurrency: 1,
      ...inherited,
    } as const;
    const options = { home: at("user/.aegis"), policies: at("user/.aegis/policies"), allowHome: false };
    const whole = { ...config, servers: new Map([["files", server]]) };
    expect(checkBoundary(whole, options)).toEqual([expect.objectContaining({ severity: "warning" })]);
    process.chdir(at("user/.aegis/policies"));
    expect(() => checkBoundary(whole, options)).toThrow(expect.objectContaining({ code: "home_reachable" }));
  } finally {
    process.chdir(from);
  }
});
