import { PassThrough } from "node:stream";
import { afterEach, expect, it, vi } from "vitest";
import { relayStderr } from "../../../src/gateway/servers/stderr.js";

afterEach(() => {
  vi.restoreAllMocks();
});

/** What reaches our stderr of what a server writes on its own. */
async function relayed(writes: readonly string[]): Promise<string[]> {
  const lines: string[] = [];
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    lines.push(String(text));
    return true;
  });
  const from = new PassThrough({ highWaterMark: 1 << 24 });
  relayStderr("files", from);
  for (const text of writes) from.write(text);
  from.end();
  await new Promise((resolve) => from.once("close", resolve));
  vi.restoreAllMocks();
  return lines;
}

it("a server's stderr is shown line by line under its name, with nothing that acts on a terminal", async () => {
  expect(await relayed(["one\ntwo \u001b[2J\u009b2J\n"])).toEqual([
    "[files] one\n",
    "[files] two \\x1b[2J\\x9b2J\n",
  ]);
});

it("a flood of it is cut to a few hundred lines, and a line without end to one that is short (R7)", async () => {
  const flood = Array.from({ length: 200 }, () => `${"x".repeat(100)}\n`.repeat(500));
  const lines = await relayed([...flood, "y".repeat(5_000_000)]);
  // 100 lines a second, in the one or two seconds that this takes at most on a slow machine.
  expect(lines.length).toBeGreaterThan(0);
  expect(lines.length).toBeLessThan(1_000);
  for (const line of lines) expect(line.length).toBeLessThan(5_000);
});
