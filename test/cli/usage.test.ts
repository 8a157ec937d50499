import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Finished, makePlace, type Place } from "../fixtures/gateway.js";

let place: Place;
beforeAll(() => {
  place = makePlace();
});
afterAll(() => place.remove());

const run = (line: string, env: Record<string, string> = {}): Promise<Finished> =>
  place.cli(line === "" ? [] : line.split(" "), { env });

describe("the exit code", () => {
  it.each(["--help", "--version", "kill --help", "policy explain --help"])("of %j is 0", async (line) => {
    expect(await run(line)).toMatchObject({ code: 0, stderr: "" });
  });

  it.each([
    ["", "Usage: aegis"],
    ["kil demo", "Did you mean kill?"],
    ["kill", "missing required argument 'agent'"],
    ["kill a b", "too many arguments"],
    ["status --jsn", "unknown option '--jsn'"],
    ["log --limit 0", "whole number from 1"],
    ["log --limit 1e3", "whole number from 1"],
    ["approve seven", '"seven" is not an id'],
    ["approve -- -1", '"-1" is not an id'],
    ["policy", "Usage: aegis policy"],
    ["policy explain --agent a", "'--action <server__tool>' not specified"],
    ["policy explain --agent a --action write", "Write SERVER__TOOL"],
    ["policy explain --agent a --action a__b --args {", "--args is not JSON"],
    ["token create --role king --name x", "Allowed choices are agent, approver, admin, auditor"],
    ["token create --role admin --name x --agent a", "Leave --agent out"],
    ["token create --role admin --name x --expires 5", "must be a duration"],
    ["gateway", "'--config <file>' not specified"],
    ["gateway --config x --http 8100", "is not HOST:PORT"],
    ["wrap", "missing required argument 'command'"],
    ["wrap --server A__b -- x", "is not a key"],
    ["export", "unknown command 'export'"],
  ])("of %j is 2, and stderr says why", async (line, reason) => {
    const { code, stdout, stderr } = await run(line);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(reason);
  });
});

it("only what works is listed", async () => {
  const { stdout } = await run("--help");
  expect(stdout).not.toContain("  dashboard");
});

it("a person who asks for help waits for no database, no HTTP client, no parser", async () => {
  const folder = join(place.root, "coverage");
  await run("--help", { NODE_V8_COVERAGE: folder });
  const coverage = readdirSync(folder).map((file) => readFileSync(join(folder, file), "utf8"));
  const urls = new Set(coverage.join().match(/file:[^"]+\.js(?=")/g));
  // A bundle says in comments which package a part of it came from.
  const loaded = [...urls].map((url) => readFileSync(fileURLToPath(url), "utf8")).join();
  expect(loaded).toContain("// node_modules/commander/");
  for (const heavy of ["undici", "@photostructure", "yaml", "pino", "zod", "fastify", "jose", "pg"]) {
    expect(loaded).not.toContain(`// node_modules/${heavy}/`);
  }
});

describe("a backend that was asked for is never replaced by the embedded one", () => {
  // Port 9 (discard) of this machine: nothing listens there.
  const url = "https://sdk:s3cret@127.0.0.1:9";

  it.each([
    ["the flag", `status --backend ${url}`, {}, 1],
    ["the environment", "kill demo", { AEGIS_BACKEND_URL: url }, 1],
    // It starts, and refuses every call until its backend is there.
    ["a gateway's flag", `wrap --backend ${url} -- node`, {}, 0],
  ])("not by %s", async (_, line, env, exit) => {
    const { code, stderr } = await run(line, env);
    expect(code).toBe(exit);
    expect(stderr).toContain("The backend at https://127.0.0.1:9 cannot be reached");
    expect(stderr).not.toContain("s3cret");
  });

  it("not by a .env file, which whoever can write into the folder could have written (Z27)", async () => {
    const file = join(place.work, ".env");
    writeFileSync(file, `AEGIS_BACKEND_URL=${url}\n`);
    expect(await run("status")).toMatchObject({ code: 0 });
    rmSync(file);
  });

  it("not by AEGIS_HOME/config.yaml, which is read strictly", async () => {
    const file = join(place.home, "config.yaml");
    writeFileSync(file, `backend: ${url}\n`);
    expect(await run("status")).toMatchObject({ code: 1, stderr: expect.stringContaining(file) });
    writeFileSync(file, "bakend: x\n");
    expect(await run("status")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`${file}:1:1: unknown key`),
    });
    rmSync(file);
    mkdirSync(file);
    expect(await run("status")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("it is a directory"),
    });
    rmSync(file, { recursive: true });
    expect(await run("status")).toMatchObject({ code: 0 });
  });
});
