// Builds dist/ from src/ and makes the commands executable. A build that fails leaves the last good one in place.
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
const dist = join(root, "dist");
const fresh = join(root, `dist.${process.pid}`);
const old = join(root, `dist.${process.pid}.old`);
const built = spawnSync(
  process.execPath,
  [tsc, "-p", join(root, "tsconfig.json"), "--outDir", fresh, "--noEmitOnError"],
  { stdio: "inherit" },
);
if (built.status === 0) {
  chmodSync(join(fresh, "cli/main.js"), 0o755);
  if (existsSync(dist)) renameSync(dist, old);
  renameSync(fresh, dist);
}
for (const folder of [fresh, old]) rmSync(folder, { recursive: true, force: true });
process.exit(built.status ?? 1);
