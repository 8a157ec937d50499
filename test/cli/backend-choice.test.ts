import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { chooseBackend, clearTextWarning, withAdminToken } from "../../src/cli/backend-choice.js";

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "aegis-test-"));
});
afterEach(() => rmSync(home, { recursive: true }));

const shown = async (flag: string | undefined, env: NodeJS.ProcessEnv): Promise<string | undefined> =>
  (await chooseBackend(flag, env, home))?.address.shown;

describe("the backend", () => {
  it("is the flag's, then the environment's, then that of AEGIS_HOME/config.yaml, else embedded", async () => {
    const env = { AEGIS_BACKEND_URL: "http://two" };
    writeFileSync(join(home, "config.yaml"), "backend: http://three\n");
    expect(await shown("http://one", env)).toBe("http://one");
    expect(await shown(undefined, env)).toBe("http://two");
    expect(await shown(undefined, {})).toBe("http://three");
    rmSync(join(home, "config.yaml"));
    expect(await shown(undefined, {})).toBeUndefined();
    expect(await shown(undefined, { AEGIS_BACKEND_URL: "" })).toBeUndefined();
  });

  it("is one that was asked for or an error, never another", async () => {
    await expect(chooseBackend("nonsense", {}, home)).rejects.toMatchObject({
      code: "usage",
      message: "--backend holds no URL.",
    });
    await expect(chooseBackend(undefined, { AEGIS_BACKEND_URL: "x" }, home)).rejects.toThrow(
      "AEGIS_BACKEND_URL",
    );
  });
});

describe("the credential", () => {
  it("is the URL's, then AEGIS_TOKEN", async () => {
    const of = async (url: string): Promise<unknown> =>
      (await chooseBackend(url, { AEGIS_TOKEN: " tok\n" }, home))?.address.authorization;
    expect(await of("http://x:own@localhost")).toBe(`Basic ${btoa("x:own")}`);
    expect(await of("http://localhost")).toBe("Bearer tok");
  });

  it("of a person on the backend's own machine is its admin token, which is sent nowhere else", async () => {
    const of = async (url: string, env: NodeJS.ProcessEnv = {}): Promise<unknown> => {
      const choice = await chooseBackend(url, env, home);
      return choice === null ? null : (await withAdminToken(choice, home)).address.authorization;
    };
    expect(await of("http://localhost:8000")).toBeNull();
    writeFileSync(join(home, "admin.token"), "admin-secret\n");
    expect(await of("http://localhost:8000")).toBe("Bearer admin-secret");
    expect(await of("http://127.0.0.1:8000", { AEGIS_TOKEN: "mine" })).toBe("Bearer mine");
    for (const url of ["http://10.0.0.1:8000", "https://backend.example", "http://127.0.0.1.example"])
      expect(await of(url)).toBeNull();
  });

  it("that is not taken is named by where it came from", async () => {
    writeFileSync(join(home, "admin.token"), "admin-secret\n");
    const of = async (url: string, env: NodeJS.ProcessEnv = {}): Promise<string | undefined> => {
      const choice = await chooseBackend(url, env, home);
      return choice === null ? undefined : (await withAdminToken(choice, home)).address.remedy;
    };
    expect(await of("http://localhost")).toContain(join(home, "admin.token"));
    expect(await of("http://localhost")).toContain("Restart `aegis backend`");
    expect(await of("http://localhost", { AEGIS_TOKEN: "mine" })).toMatch(/^Set AEGIS_TOKEN/);
    expect(await of("http://x:own@localhost")).toContain("URL of --backend");
    expect(await of("https://backend.example")).toMatch(/^Set AEGIS_TOKEN/);
  });

  it("that would cross a network in clear text is warned of", async () => {
    const warning = async (url: string): Promise<string | null> => {
      const choice = await chooseBackend(url, { AEGIS_TOKEN: "s3cret" }, home);
      return choice === null ? null : clearTextWarning(choice);
    };
    expect(await warning("http://backend.example")).toMatch(/http:\/\/backend\.example in clear text/);
    expect(await warning("http://backend.example")).not.toContain("s3cret");
    expect(await warning("https://backend.example")).toBeNull();
    expect(await warning("http://localhost:8000")).toBeNull();
  });
});
