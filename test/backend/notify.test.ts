import { createHmac, timingSafeEqual } from "node:crypto";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import pino from "pino";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Notify } from "../../src/backend/notify/notifier.js";
import { openBackend } from "../../src/backend/open-backend.js";
import type { Service } from "../../src/backend/service.js";
import { loadPolicies } from "../../src/policy/file/load.js";
import { agent, intent, makeHome, person, waitFor } from "../fixtures/backend/store.js";

const secret = "0123456789abcdef0123456789abcdef";

interface Received {
  readonly path: string;
  readonly body: string;
  readonly headers: IncomingMessage["headers"];
}

let place: ReturnType<typeof makeHome>;
const servers: Server[] = [];
const backends: Service[] = [];
/** Asked of every call, whatever its names are. */
const anybody = "anybody";
beforeEach(() => {
  place = makeHome();
  writeFileSync(join(place.policies, "anybody.yaml"), `agent: ${anybody}\ndefault: review\n`);
});
afterEach(async () => {
  await Promise.all(backends.splice(0).map((backend) => backend.close()));
  for (const server of servers.splice(0)) server.close().closeAllConnections();
  place.remove();
});

/** A receiver on this machine. @param answer what it says to the n-th request, from 1 on; 200 if nothing */
async function receiver(
  answer: (response: ServerResponse, count: number) => void = () => {},
): Promise<{ url: string; received: Received[] }> {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    text(request).then(
      (body) => {
        received.push({ path: request.url ?? "", body, headers: request.headers });
        answer(response, received.length);
        if (!response.writableEnded) response.end();
      },
      () => response.destroy(),
    );
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received };
}

/** A backend that tells, what it logs, and a gateway of it. */
async function telling(
  notify: Partial<Notify>,
): Promise<{ backend: Service; logged: string[]; ask: (tool?: string, args?: string) => Promise<number> }> {
  const logged: string[] = [];
  const backend = await openBackend({
    home: place.home,
    policies: await loadPolicies(place.policies, { bareNames: false }),
    holdExpires: 3_600_000,
    log: pino({ level: "warn" }, { write: (line: string) => void logged.push(line) }),
    notify: { webhook: null, slack: null, command: null, page: null, ...notify },
  });
  backends.push(backend);
  await backend.ensureAgent(agent);
  await backend.ensureAgent(anybody);
  const gateway = await backend.attach({ pid: process.pid, label: "wrap", address: null });
  const ask = async (tool = "write", args = '{"path":"/srv/canary-4711"}'): Promise<number> =>
    (await backend.decide(intent(gateway, tool, args))).approval?.id ?? 0;
  return { backend, logged, ask };
}

/** What a receiver does: this is the check of docs/approvals.md. */
function verify(header: string, body: string, key: string, now: number, tolerance = 300): boolean {
  const [, t = "", v1 = ""] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(header) ?? [];
  if (Math.abs(now / 1000 - Number(t)) > tolerance) return false;
  const expected = createHmac("sha256", key).update(`${t}.${body}`).digest();
  return v1 !== "" && timingSafeEqual(expected, Buffer.from(v1, "hex"));
}

describe("a webhook", () => {
  test("is told of a new approval, signed, with a link, and without what the call says", async () => {
    const { url, received } = await receiver();
    const { ask } = await telling({ webhook: { url, secret }, page: "https://aegis.example.com" });
    const id = await ask();
    await waitFor(() => received.length === 1, "the notification");
    const [{ body, headers }] = received as [Received];
    expect(JSON.parse(body)).toEqual({
      event: "approval.opened",
      delivery: expect.stringMatching(/^[0-9a-f-]{36}$/),
      id,
      agent,
      principal: "stdio:claude-desktop",
      action: "files__write",
      server: "files",
      tool: "write",
      rule: expect.stringContaining("review files__write"),
      reason: expect.any(String),
      requirement: { approvers: [], quorum: 1, reason: false, channels: ["cli", "page"] },
      link: `https://aegis.example.com/approvals/${id}`,
      created_at: expect.stringMatching(/Z$/),
      expires_at: expect.stringMatching(/Z$/),
    });
    expect(body).not.toContain("canary-4711");
    expect(headers["content-type"]).toBe("application/json");
    const header = String(headers["x-aegis-signature"]);
    expect(verify(header, body, secret, Date.now())).toBe(true);
    expect(verify(header, `${body} `, secret, Date.now())).toBe(false);
    expect(verify(header, body, `${secret}x`, Date.now())).toBe(false);
    expect(verify(header, body, secret, Date.now() + 301_000)).toBe(false);
  });

  test("that fails first is told again, once, with the same id and a signature of that moment", async () => {
    const { url, received } = await receiver((response, count) => {
      if (count <= 2) response.writeHead(count === 1 ? 503 : 429);
    });
    const { ask, logged } = await telling({ webhook: { url, secret } });
    await ask();
    await waitFor(() => received.length === 3, "the third try", 8_000);
    const deliveries = received.map(({ body }) => (JSON.parse(body) as { delivery: string }).delivery);
    expect(new Set(deliveries).size).toBe(1);
    for (const { body, headers } of received)
      expect(verify(String(headers["x-aegis-signature"]), body, secret, Date.now())).toBe(true);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(received).toHaveLength(3);
    expect(logged).toHaveLength(1);
  });

  test("that refuses for good, or leads elsewhere, is not followed; the log names no secret", async () => {
    const elsewhere = await receiver();
    for (const status of [404, 302]) {
      const { url, received } = await receiver((response) =>
        response.writeHead(status, { location: elsewhere.url }),
      );
      const address = url.replace("http://", "http://hunter2@").replace("/hook", "/sesame");
      const { ask, logged } = await telling({ webhook: { url: address, secret } });
      expect(await ask("write", `{"n":${status}}`)).toBeGreaterThan(0);
      await waitFor(() => logged.length === 1, "the log");
      expect(received[0]?.headers.authorization).toBe("Bearer hunter2");
      expect(logged[0]).toContain(`answered with ${status}`);
      expect(logged[0]).toContain("could not be delivered");
      expect(logged.join()).not.toMatch(/hunter2|sesame|0123456789abcdef/);
      expect(received).toHaveLength(1);
    }
    expect(elsewhere.received).toHaveLength(0);
  });

  test("that nobody answers holds up no call, and no end", async () => {
    const { url } = await receiver();
    for (const server of servers.splice(0)) server.close();
    const { backend, ask, logged } = await telling({ webhook: { url, secret } });
    const began = performance.now();
    for (let n = 0; n < 20; n++) expect(await ask("write", `{"n":${n}}`)).toBe(n + 1);
    expect(performance.now() - began).toBeLessThan(2_000);
    await waitFor(() => logged.length > 0, "the log");
    expect(logged[0]).toContain("ECONNREFUSED");
    const closing = performance.now();
    await backend.close();
    expect(performance.now() - closing).toBeLessThan(1_500);
  });

  test("hears of an end that nobody made, of a repeat nothing, and of what a person decided nothing", async () => {
    const { url, received } = await receiver();
    const { backend, ask } = await telling({ webhook: { url, secret } });
    const told = (): unknown[] =>
      received.map(({ body }) => {
        const { id, event, reason } = JSON.parse(body) as Record<string, unknown>;
        return event === "approval.void" ? [id, event, reason] : [id, event];
      });
    const decided = await ask();
    await waitFor(() => received.length === 1, "the first");
    await backend.decideApproval(decided, "denied", person(), "");
    const soon = await ask("soon");
    await waitFor(() => received.length === 3, "the expiry");
    const killed = await ask("write", '{"n":2}');
    await waitFor(() => received.length === 4, "the one to be killed");
    await backend.kill(agent, person("os:eve"), "");
    await waitFor(() => received.length === 5, "the kill");
    expect(told()).toEqual([
      [decided, "approval.opened"],
      [soon, "approval.opened"],
      [soon, "approval.expired"],
      [killed, "approval.opened"],
      [killed, "approval.void", `${agent} was killed by os:eve`],
    ]);
  });
});

test("of two processes on one store only the one that opened the approval tells of it", async () => {
  const { url, received } = await receiver();
  const first = await telling({ webhook: { url, secret } });
  await telling({ webhook: { url, secret } });
  await first.ask("soon");
  await waitFor(() => received.length === 2, "opened and expired");
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(received).toHaveLength(2);
});

test("a held result is told of as one, in each way, and a rule that the reason names once", async () => {
  const data = "data: [{ detect: custom, name: salary, pattern: salary, then: review, in: results }]\n";
  writeFileSync(join(place.policies, "anybody.yaml"), `agent: ${anybody}\n${data}`);
  const { url, received } = await receiver();
  const { backend } = await telling({ webhook: { url, secret }, slack: { url } });
  const gateway = await backend.attach({ pid: process.pid, label: "wrap", address: null });
  const call = intent(gateway, "write", '{"result":"salary"}', { agent: anybody });
  await backend.decide({ ...call, call: `${call.call}.result`, stage: "result" });
  await waitFor(() => received.length === 2, "both notifications");
  const bodies = received.map(({ body }) => JSON.parse(body) as { stage?: string; text?: string });
  expect(bodies.filter(({ stage }) => stage === "result")).toHaveLength(1);
  const said = bodies.find((body) => body.text !== undefined)?.text ?? "";
  expect(said).toContain("waits: the result of a call by agent `anybody`, `files__write`");
  expect(said).toContain("). The call has run. `A person must decide: the result holds salary");
  expect(said.split("data salary")).toHaveLength(2);
});

test("Slack is told in text in which a foreign name is only text", async () => {
  const { url, received } = await receiver();
  const { backend } = await telling({ slack: { url } });
  const gateway = await backend.attach({ pid: process.pid, label: "wrap", address: null });
  const tool = "<!channel> `x` <https://evil|ok> a&b *bold*";
  await backend.decide(intent(gateway, tool, "{}", { agent: anybody }));
  await waitFor(() => received.length === 1, "the notification");
  const { text: said } = JSON.parse(received[0]?.body ?? "") as { text: string };
  expect(said).toContain("`files__&lt;!channel&gt; 'x' &lt;https://evil|ok&gt; a&amp;b *bold*`");
  expect(said).not.toMatch(/<|\u202e/);
  // No page here: the command that decides is named instead.
  expect(said).toContain("Decide: `aegis approve 1`");
});

describe.skipIf(process.platform === "win32")("a command", () => {
  let script: string;
  let output: string;
  beforeEach(() => {
    script = join(place.policies, "..", "notify.sh");
    output = join(place.policies, "..", "said");
    writeFileSync(
      script,
      `#!/bin/sh\nfor one in "$@"; do printf '%s\\n' "$one"; done > ${output}.part\n` +
        `printf '%s|%s|%s' "$AEGIS_NOTIFY_TOOL" "$AEGIS_NOTIFY_ID" "$AEGIS_TOKEN" >> ${output}.part\n` +
        `mv ${output}.part ${output}\n`,
    );
    chmodSync(script, 0o755);
  });

  test("gets values as whole arguments and variables, and no shell, no option and no token of ours", async () => {
    process.env.AEGIS_TOKEN = "aegis_hunter2";
    try {
      const { backend } = await telling({ command: [script, "-t", "{tool}", "{id}", "{text}", "{link}"] });
      const gateway = await backend.attach({ pid: process.pid, label: "wrap", address: null });
      await backend.decide(
        intent(gateway, `--x="$(touch ${output}x)";`, '{"a":"canary-1"}', { agent: anybody }),
      );
      await waitFor(() => existsSync(output), "the command", 8_000);
      const lines = readFileSync(output, "utf8").split("\n");
      expect(lines.slice(0, 3)).toEqual(["-t", ` --x="$(touch ${output}x)";`, "1"]);
      expect(lines[3]).toMatch(/^Aegis: approval 1 waits: agent anybody, files__--x=/);
      expect(lines[4]).toBe("");
      expect(lines[5]).toBe(` --x="$(touch ${output}x)";|1|`);
      expect(lines.join()).not.toContain("canary-1");
      expect(existsSync(`${output}x`)).toBe(false);
    } finally {
      delete process.env.AEGIS_TOKEN;
    }
  });

  test("that fails is logged, and the call is held as ever", async () => {
    const { ask, logged } = await telling({ command: [join(place.policies, "none")] });
    expect(await ask()).toBe(1);
    await waitFor(() => logged.length === 1, "the log");
    expect(logged[0]).toContain("ENOENT");
  });
});
