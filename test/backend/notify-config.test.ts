import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../src/backend/service.js";
import type { Check } from "../../src/cli/doctor.js";
import { lookAtApprovers, lookAtHomeConfig } from "../../src/cli/doctor-home.js";
import { notifyOf, pageOrigin } from "../../src/cli/notify.js";
import { loadPolicies } from "../../src/policy/file/load.js";
import { makeHome, open, person } from "../fixtures/backend/store.js";

const secret = "0123456789abcdef";
let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "aegis-notify-"));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const write = (yaml: string): void => writeFileSync(join(home, "config.yaml"), yaml);
const read = (yaml: string, env: NodeJS.ProcessEnv = {}): ReturnType<typeof notifyOf> => {
  write(yaml);
  return notifyOf(home, env, null);
};

describe("notify: in config.yaml", () => {
  test("is read with variables, and nobody is told without it", async () => {
    expect(await notifyOf(home, {}, null)).toEqual({});
    expect(await read("backend: http://127.0.0.1:8000\n")).toEqual({});
    expect(await read("notify: {}\n")).toEqual({});
    const yaml =
      "notify:\n  webhook: { url: https://hooks.example.com/a, secret: '$\u007bS}' }\n" +
      '  slack: { url: "http://127.0.0.1:9/x" }\n  command: [notify-send, -a, Aegis, "{text}"]\n';
    write(yaml);
    expect(await notifyOf(home, { S: secret }, "https://aegis.example.com")).toEqual({
      notify: {
        webhook: { url: "https://hooks.example.com/a", secret },
        slack: { url: "http://127.0.0.1:9/x" },
        command: ["notify-send", "-a", "Aegis", "{text}"],
        page: "https://aegis.example.com",
      },
    });
  });

  test.each([
    ["webhook: { url: 'http://hooks.example.com', secret: 0123456789abcdef }", "must begin with https://"],
    ["webhook: { url: 'file:///etc/passwd', secret: 0123456789abcdef }", "must begin with https://"],
    ["slack: { url: 'http://169.254.169.254/latest' }", "must begin with https://"],
    ["webhook: { secret: 0123456789abcdef }", "has no url"],
    ["webhook: { url: 'https://a.example' }", "has no secret"],
    ["webhook: { url: 'https://a.example', secret: short }", "shorter than 16"],
    ["webhook: { url: 'https://a.example', secret: '$\u007bNONE}' }", "NONE is not set"],
    ["command: []", "begins with the program"],
    ["command: ['{tool}']", "begins with the program"],
    ["command: [sh, -c, 'echo {tool}']", "inside of a longer argument"],
    ["command: [say, '{args}']", "stands for nothing"],
    ["mail: { to: a }", 'unknown key "mail"'],
  ])("is refused where it says %s", async (line, said) => {
    await expect(read(`notify:\n  ${line}\n`)).rejects.toMatchObject({
      code: "config_invalid",
      message: expect.stringContaining(said),
    });
  });
});

test("a link leads where people reach the backend, and nowhere where that is not known", () => {
  const local = { host: "127.0.0.1", port: 8000 };
  expect(pageOrigin(new URL("https://aegis.example.com/"), local, false)).toBe("https://aegis.example.com");
  expect(pageOrigin(null, local, false)).toBe("http://127.0.0.1:8000");
  expect(pageOrigin(null, { host: "::1", port: 8000 }, true)).toBe("https://[::1]:8000");
  expect(pageOrigin(null, { host: "0.0.0.0", port: 8000 }, true)).toBeNull();
  expect(pageOrigin(null, { host: "127.0.0.1", port: 0 }, false)).toBeNull();
});

describe("doctor", () => {
  async function said(
    look: (add: (name: string, state: Check["state"], message: string) => void) => Promise<void>,
  ) {
    const checks: Check[] = [];
    await look((name, state, message) => checks.push({ name, state, message }));
    return checks.map(({ name, state, message }) => `${state} ${name}: ${message}`).join("\n");
  }

  test("warns of approvals that are used again, and of a program that is not there", async () => {
    write("compat: { reuse_approvals: true }\nnotify: { command: [no-such-program, '{text}'] }\n");
    const text = await said((add) => lookAtHomeConfig(home, { PATH: home }, null, add));
    expect(text).toContain("warning compat: compat.reuse_approvals is on");
    expect(text).toContain(
      "warning notify: the program of notify.command, no-such-program, is not to be found",
    );
    writeFileSync(join(home, "no-such-program"), "#!/bin/sh\n", { mode: 0o755 });
    write("compat: { reuse_approvals: false }\nnotify: { command: [no-such-program, '{text}'] }\n");
    expect(await said((add) => lookAtHomeConfig(home, { PATH: home }, null, add))).toBe(
      "ok notify: of new approvals are told: command no-such-program",
    );
  });

  test("names rules that ask for people nobody is, until there is one", async () => {
    const place = makeHome();
    let backend: Service | null = null;
    try {
      const file =
        "agent: claude-*\ndefault: block\nreview:\n  - { action: files__write, approval: { approvers: [docs] } }\n";
      mkdirSync(place.policies, { recursive: true });
      writeFileSync(join(place.policies, "claude.yaml"), file);
      const opened = await open(place);
      backend = opened;
      const set = await loadPolicies(place.policies, { bareNames: false });
      const remarks = (others = false): Promise<string> =>
        said((add) => lookAtApprovers(opened, set, others, add));
      expect(await remarks()).toMatch(/^broken policies: .*claude\.yaml:4: .*docs/);
      expect(await remarks(true)).toBe("");
      const { id } = await opened.createToken({ name: "ada", role: "approver", groups: ["docs"] }, person());
      expect(await remarks()).toBe("");
      await opened.revokeToken(id, person());
      expect(await remarks()).toContain("broken");
    } finally {
      await backend?.close();
      place.remove();
    }
  });
});
