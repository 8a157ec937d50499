/**
 * Takes a guarantee out of the code, one at a time, and runs the tests that are to notice: a suite that stays green
 * without it proves nothing about it. `npm run mutants`, or some of them: `npm run mutants -- fail-open no-cas`.
 *
 * Works on a copy; exits with 1 where one survives or can not be applied any more.
 */
import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repository } from "../fixtures/servers.js";
import { type Mutant, mutants } from "./mutants.js";

/** What a copy needs to build and to run tests. */
const copied = ["bench", "demo", "docs", "policies", "scripts", "src", "test"];
const files = [
  "package.json",
  "package-lock.json",
  "tsconfig.json",
  "vitest.config.ts",
  "README.md",
  "CHANGELOG.md",
];

/** Milliseconds for the tests of one mutant. */
const patience = 240_000;

interface Verdict {
  readonly killed: boolean;
  readonly how: string;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !mutants.some((mutant) => mutant.name === name));
if (unknown.length > 0) {
  console.error(
    `There is no mutant ${unknown.join(", ")}. There are: ${mutants.map(({ name }) => name).join(", ")}`,
  );
  process.exit(2);
}
const chosen = mutants.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
const place = await mkdtemp(join(tmpdir(), "aegis-mutants-"));
let survived = 0;
try {
  for (const name of [...copied, ...files])
    await cp(join(repository, name), join(place, name), { recursive: true });
  await symlink(join(repository, "node_modules"), join(place, "node_modules"));
  for (const mutant of chosen) {
    const startedAt = performance.now();
    const { killed, how } = await judge(mutant);
    if (!killed) survived++;
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    console.log(`${killed ? "killed  " : "SURVIVED"}  ${mutant.name.padEnd(30)} ${how} (${seconds} s)`);
  }
} finally {
  await rm(place, { recursive: true, force: true });
}
console.log(`\n${chosen.length - survived} killed, ${survived} survived`);
process.exit(survived === 0 ? 0 : 1);

async function judge(mutant: Mutant): Promise<Verdict> {
  const originals = new Map<string, string>();
  try {
    for (const { file, find, replace } of mutant.also === undefined ? [mutant] : [mutant, mutant.also]) {
      const path = join(place, file);
      const text = await readFile(path, "utf8");
      const places = text.split(find).length - 1;
      if (places !== 1) {
        return { killed: false, how: `what it changes stands ${places} times in ${file}, not once` };
      }
      if (!originals.has(path)) originals.set(path, text);
      await writeFile(
        path,
        text.replace(find, () => replace),
      );
    }
    const built = await run("node", ["scripts/build.mjs"]);
    if (built.code !== 0) return { killed: false, how: `it does not build: ${lastLine(built.output)}` };
    const tested = await run("npx", ["vitest", "run", "--retry", "0", "--bail", "1", ...mutant.tests]);
    const failed = /Tests\s+.*?(\d+) failed/.exec(tested.output)?.[1];
    if (tested.code === 0) return { killed: false, how: `${mutant.tests.join(", ")} stay green` };
    // An end for another reason (a file that is gone, no test at all) proves nothing.
    if (failed === undefined)
      return { killed: false, how: `its tests did not run: ${lastLine(tested.output)}` };
    return {
      killed: true,
      how: /FAIL\s+(.*)/.exec(tested.output)?.[1]?.slice(0, 160) ?? mutant.tests.join(", "),
    };
  } finally {
    for (const [path, text] of originals) await writeFile(path, text);
  }
}

function run(command: string, args: readonly string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: place,
      env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: patience,
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output }));
  });
}

function lastLine(output: string): string {
  return output.trim().split("\n").at(-1) ?? "";
}
