import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import type { StartedThread } from "../../src/backend/thread/threaded.js";
import { embeddedBackend, type OpenedBackend } from "../../src/cli/gateway-backend.js";
import { Output } from "../../src/cli/output.js";
import { publishPolicies } from "../../src/cli/policy/publish.js";
import type { LedgerRecord } from "../../src/client/backend.js";
import { emptyConfig } from "../../src/config-file.js";
import { createLogger } from "../../src/log.js";
import { intent, makeHome, open, person } from "../fixtures/backend/store.js";
import { makePlace, wrapClient } from "../fixtures/gateway.js";
import { fakeServer } from "../fixtures/servers.js";

const poll = { timeout: 5_000, interval: 10 };

let root: string;
let folder: string;
let said: Array<Record<string, unknown>>;
let closing: Array<() => Promise<unknown>>;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), "aegis-reload-")));
  folder = join(root, "policies");
  said = [];
  closing = [];
});
afterEach(async () => {
  for (const close of closing.toReversed()) await close();
  rmSync(root, { recursive: true, force: true });
});

const log = () =>
  pino(
    { level: "info" },
    { write: (line: string) => said.push(JSON.parse(line) as Record<string, unknown>) },
  );

function write(text: string, name = "bot.yaml"): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, name);
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** An embedded gateway's backend, in this process, as far as the CLI composes it. */
async function gateway(): Promise<OpenedBackend & { readonly service: Service }> {
  let service: Service | undefined;
  const thread: StartedThread = {
    open: async (options, logger) => {
      service = await openBackend({ ...options, log: logger });
      return service;
    },
    discard: async () => {},
  };
  const context = {
    env: {},
    home: join(root, "home"),
    out: new Output(false),
    embedded: async () => openBackend,
  };
  const plan = {
    config: emptyConfig(null),
    naming: "prefixed" as const,
    http: null,
    flags: { policies: folder },
  };
  const { open: openIt } = await embeddedBackend(context, plan, "bot", thread, log(), () => {});
  const opened = await openIt();
  closing.push(() => opened.backend.close());
  const watch = await opened.watch?.();
  closing.push(async () => watch?.close());
  await opened.backend.ensureAgent("bot");
  if (service === undefined) throw new Error("nothing was opened");
  return { ...opened, service };
}

/** What is decided now about a call of `files__read`, and by which revision. */
async function asked(backend: Service): Promise<{ decision: string; revision: string }> {
  const { decision, revision } = await backend.decide(intent("gw", "read", "{}", { agent: "bot" }));
  return { decision, revision };
}

const policyRecords = (backend: Service): Promise<readonly LedgerRecord[]> =>
  backend.records({ kinds: ["policy"], limit: 100 });

const decision = async (backend: Service): Promise<string> => (await asked(backend)).decision;

describe("a gateway", () => {
  test("takes a changed file over between two calls, and records which revision", async () => {
    write("agent: bot\nallow: [files__read]\n");
    const { service } = await gateway();
    const before = await asked(service);
    expect(before.decision).toBe("ALLOW");
    write("agent: bot\nblock: [files__read]\n");
    await expect.poll(() => decision(service), poll).toBe("BLOCK");
    const { revision } = await asked(service);
    expect(revision).not.toBe(before.revision);
    expect(await policyRecords(service)).toMatchObject([
      {
        revision,
        principal: expect.stringMatching(/^os:/),
        reason: "1 policy file read again, and in force.",
      },
    ]);
    write("agent: bot\nallow: [files__read]\n");
    await expect.poll(() => decision(service), poll).toBe("ALLOW");
    expect((await asked(service)).revision).toBe(before.revision);
  });

  test("refuses a change with an error whole, says so once, and once more when it is mended", async () => {
    write("agent: bot\nallow: [files__read]\n");
    write("agent: bot\nblock: [files__write]\n", "other.yaml");
    const { service } = await gateway();
    const { revision } = await asked(service);
    write("agent: bot\nblock: [files__read]\n", "other.yaml");
    await expect.poll(() => decision(service), poll).toBe("BLOCK");
    // One file says that reading is allowed again, the other is broken: neither counts.
    writeFileSync(join(folder, "other.yaml"), "agent: bot\nblok: [files__read]\nallow: 7\n");
    await expect.poll(() => said.filter(({ level }) => level === 50).length, poll).toBe(1);
    expect(said.find(({ level }) => level === 50)).toMatchObject({
      problems: [
        expect.stringContaining(`${join(folder, "other.yaml")}:2:1`),
        expect.stringContaining("other.yaml:3:8"),
      ],
    });
    expect(await decision(service)).toBe("BLOCK");
    const refused = (await policyRecords(service)).at(-1);
    expect(refused?.reason).toContain("was refused, what was in force stays: ");
    expect(refused?.reason).toContain("other.yaml:2:1");
    expect(refused?.reason).not.toContain("other.yaml:3:8");
    expect(refused).toMatchObject({ revision: (await asked(service)).revision });

    write("agent: bot\nblock: [files__write]\n", "other.yaml");
    await expect.poll(() => decision(service), poll).toBe("ALLOW");
    expect((await asked(service)).revision).toBe(revision);
    await expect
      .poll(() => said.filter(({ msg }) => /in order again/.test(String(msg))).length, poll)
      .toBe(1);
    expect(said.filter(({ level }) => level === 50)).toHaveLength(1);
  });

  test("takes nothing from a file or a folder that others may write, until they may not (P24)", async () => {
    write("agent: bot\nblock: [files__read]\n");
    const { service } = await gateway();
    const file = join(folder, "bot.yaml");
    writeFileSync(file, "agent: bot\nallow: [files__read]\n");
    chmodSync(file, 0o666);
    await expect.poll(() => JSON.stringify(said), poll).toContain("can be written by others");
    expect(await decision(service)).toBe("BLOCK");
    chmodSync(file, 0o600);
    await expect.poll(() => decision(service), poll).toBe("ALLOW");

    chmodSync(folder, 0o777);
    write("agent: bot\nblock: [files__read]\n");
    await expect.poll(async () => (await policyRecords(service)).at(-1)?.reason, poll).toContain(folder);
    expect(await decision(service)).toBe("ALLOW");
    chmodSync(folder, 0o700);
    await expect.poll(() => decision(service), poll).toBe("BLOCK");
  });

  test("that starts with files others may write says what will happen, and refuses when it does", async () => {
    write("agent: bot\nallow: [files__read]\n");
    const file = join(folder, "bot.yaml");
    chmodSync(file, 0o664);
    const { service } = await gateway();
    await expect.poll(() => said.filter(({ level }) => level === 40).length, poll).toBe(1);
    expect(await policyRecords(service)).toEqual([]);
    writeFileSync(file, "agent: bot\nblock: [files__read]\n");
    await expect.poll(async () => (await policyRecords(service)).length, poll).toBe(1);
    expect(await decision(service)).toBe("ALLOW");
    chmodSync(file, 0o600);
    await expect.poll(() => decision(service), poll).toBe("BLOCK");
  });

  test("keeps what was in force when the folder vanishes or is emptied, and takes it over when it is back", async () => {
    write("agent: bot\nblock: [files__read]\n");
    const { service } = await gateway();
    renameSync(folder, `${folder}.away`);
    await expect.poll(() => JSON.stringify(said), poll).toContain("holds no policy file any more");
    expect(await decision(service)).toBe("BLOCK");
    writeFileSync(join(`${folder}.away`, "bot.yaml"), "agent: bot\nallow: [files__read]\n");
    renameSync(`${folder}.away`, folder);
    await expect.poll(() => decision(service), poll).toBe("ALLOW");
    rmSync(join(folder, "bot.yaml"));
    await expect.poll(async () => (await policyRecords(service)).length, poll).toBe(3);
    expect(await decision(service)).toBe("ALLOW");
  });

  test("follows a folder that is replaced as a whole, through a symbolic link", async () => {
    write("agent: bot\nblock: [files__read]\n");
    const next = join(root, "next");
    mkdirSync(next, { mode: 0o700 });
    writeFileSync(join(next, "bot.yaml"), "agent: bot\nallow: [files__read]\n", { mode: 0o600 });
    renameSync(folder, join(root, "first"));
    symlinkSync(join(root, "first"), folder);
    const { service } = await gateway();
    expect(await decision(service)).toBe("BLOCK");
    symlinkSync(next, `${folder}.new`);
    renameSync(`${folder}.new`, folder);
    await expect.poll(() => decision(service), poll).toBe("ALLOW");
  });

  test("that began without policies takes its starter file over, and what a person makes of it", async () => {
    const { service, onTools, howToAllow } = await gateway();
    expect((await asked(service)).decision).toBe("REVIEW");
    const hint = howToAllow("bot", "files__read");
    expect(hint).toContain(
      `\`aegis policy add --allow --agent bot --action files__read --policies ${folder}\``,
    );
    expect(howToAllow("bot", "files__`reboot`")).not.toContain("aegis policy add");
    await onTools?.([{ key: "files", tools: [{ name: "read", hints: {} }] }] as never);
    const file = join(folder, "bot.yaml");
    await expect.poll(async () => (await policyRecords(service)).length, poll).toBe(1);
    writeFileSync(file, readFileSync(file, "utf8").replace("default: review", "default: block"));
    await expect.poll(() => decision(service), poll).toBe("BLOCK");
  });
});

test("what `aegis policy add` writes holds for a running `aegis wrap`", async () => {
  const place = makePlace({ "tester.yaml": "agent: tester\n# ours\ndefault: block\nblock: [fake__pay]\n" });
  chmodSync(place.policies, 0o700);
  chmodSync(join(place.policies, "tester.yaml"), 0o600);
  const client = await wrapClient(place, "v1", fakeServer());
  try {
    expect((await client.call("pay", {})).isError).toBe(true);
    const args = ["policy", "add", "--agent", "tester", "--action", "fake__echo", "--allow", "--yes"];
    const { code, stderr } = await place.cli([...args, "--policies", place.policies]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    await expect.poll(async () => (await client.call("echo", {})).isError ?? false, poll).toBe(false);
    expect(readFileSync(join(place.policies, "tester.yaml"), "utf8")).toBe(
      "agent: tester\n# ours\ndefault: block\nblock: [fake__pay]\n\nallow:\n  - fake__echo\n",
    );
    expect((await client.call("pay", {})).isError).toBe(true);
  } finally {
    await client.close();
    place.remove();
  }
});

test("decisions of one moment are by one revision, whatever is adopted between them (P26)", async () => {
  const place = makeHome();
  const backend = await open(place);
  closing.push(async () => {
    await backend.close();
    place.remove();
  });
  const { loadPolicies } = await import("../../src/policy/file/load.js");
  const sets = await Promise.all(
    ["allow", "block"].map(async (list) => {
      const at = join(root, list);
      mkdirSync(at);
      writeFileSync(join(at, "a.yaml"), `agent: claude-desktop\n${list}: [files__read]\n`);
      return loadPolicies(at, { bareNames: false });
    }),
  );
  const verdicts: Array<Promise<{ decision: string; revision: string }>> = [];
  for (let round = 0; round < 60; round++) {
    const [set] = round % 2 === 0 ? sets : sets.toReversed();
    if (set !== undefined) verdicts.push(backend.adoptPolicies(set, person()).then(() => asked2(backend)));
    verdicts.push(asked2(backend), asked2(backend));
    if (round % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const expected = new Map([
    [sets[0]?.revision, "ALLOW"],
    [sets[1]?.revision, "BLOCK"],
  ]);
  let known = 0;
  for (const { decision: verdict, revision } of await Promise.all(verdicts)) {
    if (!expected.has(revision)) continue;
    known++;
    expect(verdict).toBe(expected.get(revision));
  }
  expect(known).toBeGreaterThan(100);
});

async function asked2(backend: Service): Promise<{ decision: string; revision: string }> {
  return backend.decide(intent("gw"));
}

test("`aegis backend --policies` publishes its folder again when it changes, and not over what others published", async () => {
  write("agent: bot\nallow: [files__read]\n");
  const service = await openBackend({
    home: join(root, "home"),
    holdExpires: 60_000,
    log: createLogger("silent"),
  });
  closing.push(() => service.close());
  await service.ensureAgent("bot");
  const { watch } = await publishPolicies(service, join(root, "home"), folder);
  await service.publish([{ name: "x.yaml", text: "agent: bot\nblock: [files__read]\n" }], person());
  const watching = await watch?.(log());
  closing.push(async () => watching?.close());
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await decision(service)).toBe("BLOCK");
  write("agent: bot\nalow: [files__read]\n");
  await expect.poll(async () => (await policyRecords(service)).at(-1)?.reason, poll).toContain("alow");
  expect(await decision(service)).toBe("BLOCK");
  write("agent: bot\n# mended\nallow: [files__read]\n");
  await expect.poll(() => decision(service), poll).toBe("ALLOW");
  await expect(service.adoptPolicies({ revision: "", files: [] }, person())).rejects.toThrow(
    "What is published in the store is in force here",
  );
  expect((await publishPolicies(service, join(root, "home"), undefined)).watch).toBeNull();
});
