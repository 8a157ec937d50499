import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { repository } from "./fixtures/servers.js";

interface LockEntry {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
  readonly optional?: boolean;
  readonly dev?: boolean;
}

const read = (file: string): unknown => JSON.parse(readFileSync(`${repository}/${file}`, "utf8"));
const { packages } = read("package-lock.json") as { packages: Record<string, LockEntry> };
const manifest = read("package.json") as {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  scripts: Record<string, string>;
};

describe("what is installed", () => {
  it("needs no script at its installation (S1)", () => {
    const scripted = Object.entries(packages).filter(([, entry]) => entry.hasInstallScript === true);
    // Both bring their binaries as files: everything here, and all of CI, runs after `npm ci --ignore-scripts`.
    expect(scripted.map(([path]) => path)).toEqual([
      "node_modules/@photostructure/sqlite",
      "node_modules/esbuild",
    ]);
    for (const hook of ["preinstall", "install", "postinstall", "prepare"])
      expect(manifest.scripts[hook]).toBeUndefined();
  });

  it("is locked by version and integrity, and names no registry (S2)", () => {
    const locked = Object.entries(packages).filter(([path]) => path !== "");
    for (const [path, { version, resolved, integrity, optional }] of locked) {
      expect(version, path).toMatch(/^\d+\.\d+\.\d+/);
      expect(resolved, path).toBeUndefined();
      // Optional packages of other platforms may be missing where the lock was written.
      if (optional !== true) expect(integrity, path).toMatch(/^sha512-/);
    }
    for (const range of Object.values({ ...manifest.dependencies, ...manifest.devDependencies }))
      expect(range).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it("has no SDK below the versions that were mended (S3)", () => {
    const sdks = Object.entries(packages).filter(([path]) =>
      path.endsWith("node_modules/@modelcontextprotocol/sdk"),
    );
    expect(sdks.length).toBeGreaterThan(0);
    for (const [path, { version = "" }] of sdks) {
      const [major = 0, minor = 0] = version.split(".").map(Number);
      // 1.25.4 ended the leak of answers between clients (GHSA-345p-7cg4-v4c7); 1.26.0 is what threats.md asks for.
      expect(major > 1 || minor >= 26, `${path} ${version}`).toBe(true);
    }
  });
});

it("what is published is the program, its documentation and its examples, and nothing else (S5)", () => {
  const listed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: repository,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [{ files }] = JSON.parse(listed) as [{ files: Array<{ path: string }> }];
  const allowed =
    /^(?:dist\/.+\.js(?:\.LEGAL\.txt)?|docs\/.+\.md|policies\/.+\.(?:ya?ml|md|json)|README\.md|CHANGELOG\.md|LICENSE|package\.json)$/;
  expect(files.map(({ path }) => path).filter((path) => !allowed.test(path))).toEqual([]);
  expect(files.some(({ path }) => path === "dist/cli/main.js")).toBe(true);
});
