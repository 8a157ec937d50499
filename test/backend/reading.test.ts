/** Large arguments, which are read in a thread of their own: the built one. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { UnreadIntent } from "../../src/backend/decisions/unread-intent.js";
import { redactArguments } from "../../src/backend/ledger/redact.js";
import type { Service } from "../../src/backend/service.js";
import { Reader } from "../../src/backend/thread/reader.js";
import { startThread } from "../../src/backend/thread/threaded.js";
import { createLogger } from "../../src/log.js";
import { loadPolicies } from "../../src/policy/file/load.js";
import { agent, makeHome } from "../fixtures/backend/store.js";

const file = new URL("../../dist/backend/thread/thread.js", import.meta.url);
let place: ReturnType<typeof makeHome>;
let backend: Service;
let gateway: string;
let calls: number;

beforeEach(async () => {
  place = makeHome();
  calls = 0;
  const policies = await loadPolicies(place.policies, { bareNames: false });
  const options = { home: place.home, policies, holdExpires: 60_000 };
  backend = await startThread(file).open(options, createLogger("silent"), () => {});
  await backend.ensureAgent(agent);
  gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
});
afterEach(async () => {
  await backend.close();
  place.remove();
});

function unread(text: string): UnreadIntent {
  return {
    call: `${gateway}-${++calls}`,
    gateway,
    agent,
    principal: "desk",
    server: "files",
    tool: "read",
    action: "files__read",
    definition: "d".repeat(64),
    arguments: text,
    unread: true,
    get parsed(): unknown {
      throw new Error("they are read in this thread");
    },
  };
}

test("are recorded redacted, and bound, as those that were parsed before", async () => {
  const value = { password: "hunter2", items: Array.from({ length: 100_000 }, (_, n) => n) };
  const text = JSON.stringify(value);
  const first = await backend.decide(unread(text));
  const { call, principal, server, tool, action, definition } = unread(text);
  const names = { call, gateway, agent, principal, server, tool, action, definition };
  const second = await backend.decide({ ...names, arguments: text, parsed: value });
  const records = await backend.records({ limit: 10, kinds: ["decision"] });
  const [one, other] = [first, second].map(({ record }) => records.find(({ id }) => id === record));
  expect(one?.arguments).toEqual(other?.arguments);
  expect(JSON.stringify(one?.arguments)).not.toContain("hunter2");
  expect([one?.digest, other?.digest]).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/), one?.digest]);
  const released = await backend.release(unread(text), null);
  expect(released.call).toBe(`${gateway}-${calls}`);
});

test("are looked at by conditions and by rules for data, where the policy has some", async () => {
  await backend.close();
  const text = (items: number) =>
    JSON.stringify({ note: "TCK-1", items: Array.from({ length: items }, () => 1) });
  writeFileSync(
    join(place.policies, "claude.yaml"),
    `agent: claude-*\ndefault: block\non_change: allow\nallow: [{ action: files__read, when: 'args.items.size() == 70000 && client.name == "desk"' }]\n` +
      `data: [{ detect: custom, name: ticket, pattern: "TCK-[0-9]+", then: redact, in: arguments }]\n`,
  );
  const policies = await loadPolicies(place.policies, { bareNames: false });
  const options = { home: place.home, policies, holdExpires: 60_000 };
  backend = await startThread(file).open(options, createLogger("silent"), () => {});
  gateway = await backend.attach({ pid: process.pid, label: "wrap files", address: null });
  const asked = (items: number): UnreadIntent =>
    Object.defineProperty({ ...names(items), client: { name: "desk", version: "1" } }, "parsed", {
      get: () => {
        throw new Error("they are read in this thread");
      },
    }) as UnreadIntent;
  const names = (items: number) => ({
    call: `${gateway}-${++calls}`,
    gateway,
    agent,
    principal: "desk",
    server: "files",
    tool: "read",
    action: "files__read",
    definition: "d".repeat(64),
    arguments: text(items),
    unread: true,
  });
  const allowed = await backend.decide(asked(70_000));
  expect(allowed.decision).toBe("ALLOW");
  expect(allowed.arguments).toBe(text(70_000).replace("TCK-1", "[ticket]"));
  expect((await backend.decide(asked(70_001))).decision).toBe("BLOCK");
});

test("that are none are refused, and change nothing", async () => {
  const before = await backend.newestRecord();
  for (const text of ['{"a":1', "[1]", '{"a":1,"a":2}', `{"a":${"[".repeat(65)}${"]".repeat(65)}}`])
    await expect(backend.decide(unread(text))).rejects.toMatchObject({ code: "usage" });
  expect(await backend.newestRecord()).toBe(before);
  expect((await backend.decide(unread('{"a":1}'))).call).toBe(`${gateway}-${calls}`);
});

test("that are being read when their thread ends are refused, and the next ones are read by another", async () => {
  const reader = new Reader(file);
  const reading = reader.read(JSON.stringify({ items: Array.from({ length: 500_000 }, () => 1) }));
  const refused = expect(reading).rejects.toMatchObject({ code: "backend_unavailable" });
  await reader.close();
  await refused;
  expect(await reader.read('{"a":1,"token":"x"}')).toBe(redactArguments({ a: 1, token: "x" }));
  await reader.close();
});
