import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { connectClient } from "../fixtures/clients.js";
import { isAlive } from "../fixtures/process.js";
import { repository } from "../fixtures/servers.js";

it("npm start governs the filesystem server, says how to connect and to decide, and ends all of it on Ctrl-C", async () => {
  const home = mkdtempSync(join(tmpdir(), "aegis-start-"));
  const child = spawn(process.execPath, [join(repository, "scripts/start.mjs"), "--http", "127.0.0.1:0"], {
    env: { ...process.env, AEGIS_HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    let said = "";
    await new Promise<void>((resolve, reject) => {
      child.once("exit", () => reject(new Error(said)));
      for (const stream of [child.stdout, child.stderr]) {
        stream.on("data", (chunk: Buffer) => {
          said += chunk.toString();
          if (said.includes("Ctrl-C ends")) resolve();
        });
      }
    });
    expect(said).not.toContain("warning:");
    const token = readFileSync(join(home, "gateway.token"), "utf8").trim();
    const [, url = ""] = /The gateway is at +(http:\/\/127\.0\.0\.1:\d+\/mcp)\n/.exec(said) ?? [];
    for (const part of ["mcpServers", '"servers"', "claude mcp add --transport http", token, "approve ID"]) {
      expect(said).toContain(part);
    }

    const client = await connectClient("v1", { kind: "http", url, token });
    const read = await client.call("files__read_text_file", {
      path: join(repository, "scratch/welcome.txt"),
    });
    expect(read.content?.[0]?.text).toContain("Changing it needs your approval");
    const ps = execFileSync("ps", ["-eo", "pid,ppid"]).toString().trim().split("\n").slice(1);
    const tree = descendants(
      ps.map((line) => line.trim().split(/\s+/).map(Number)),
      child.pid ?? 0,
    );
    expect(tree.length).toBeGreaterThanOrEqual(2);

    const from = performance.now();
    child.kill("SIGINT");
    expect(await ended).toBe(0);
    expect(performance.now() - from).toBeLessThan(2500);
    expect(tree.filter(isAlive)).toEqual([]);
    await client.close().catch(() => undefined);
  } finally {
    child.kill("SIGTERM");
    await ended;
    rmSync(home, { recursive: true, force: true });
  }
});

/** Every process below `root`, from pairs of its id and its parent's. */
function descendants(pairs: readonly number[][], root: number): number[] {
  const children = pairs.filter(([, parent]) => parent === root).map(([pid = 0]) => pid);
  return children.flatMap((pid) => [pid, ...descendants(pairs, pid)]);
}
