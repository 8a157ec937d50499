/** One `/v1` decision over loopback against a Fastify route that does nothing, as processes of their own. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { median } from "../report.js";

export interface HttpResult {
  readonly callers: number;
  /** Requests a second; microseconds. */
  readonly noop: Figures;
  readonly aegis: Figures;
}

interface Figures {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export async function measureHttp(rounds: number, slice: number): Promise<HttpResult[]> {
  const home = mkdtempSync(join(tmpdir(), "aegis-bench-"));
  const noop = fork(fileURLToPath(new URL("noop.mjs", import.meta.url)), { execArgv: [] });
  const caller = fork(fileURLToPath(new URL("caller.mjs", import.meta.url)), { execArgv: [] });
  const backend = await startBackend(home);
  try {
    const [{ port }] = (await once(noop, "message")) as [{ port: number }];
    const nothing = { url: `http://127.0.0.1:${port}`, token: null, gateway: "0123456789" };
    const aegis = await backend.asGateway();
    const results: HttpResult[] = [];
    for (const callers of [1, 16, 64]) {
      const taken = { noop: [] as Figures[], aegis: [] as Figures[] };
      for (const target of [nothing, aegis]) await ask(caller, { ...target, callers, milliseconds: slice });
      for (let round = 0; round < rounds; round++) {
        taken.noop.push(await ask(caller, { ...nothing, callers, milliseconds: slice }));
        taken.aegis.push(await ask(caller, { ...aegis, callers, milliseconds: slice }));
      }
      results.push({ callers, noop: middle(taken.noop), aegis: middle(taken.aegis) });
    }
    return results;
  } finally {
    noop.disconnect();
    caller.disconnect();
    backend.process.kill("SIGTERM");
    await once(backend.process, "exit");
    rmSync(home, { recursive: true, force: true });
  }
}

function middle(figures: readonly Figures[]): Figures {
  const of = (name: keyof Figures): number => median(figures.map((each) => each[name]));
  return { rate: of("rate"), p50: of("p50"), p99: of("p99") };
}

let orders = 0;

async function ask(caller: ChildProcess, order: object): Promise<Figures> {
  const id = ++orders;
  caller.send({ id, ...order });
  const [answer] = (await once(caller, "message")) as [{ id: number; result?: Figures; error?: string }];
  if (answer.id !== id || answer.result === undefined) throw new Error(answer.error ?? "another answer");
  return answer.result;
}

interface Started {
  readonly process: ChildProcess;
  /** Where to ask, as a gateway that has been enlisted. */
  asGateway(): Promise<{ url: string; token: string; gateway: string }>;
}

async function startBackend(home: string): Promise<Started> {
  const policies = join(home, "policies");
  mkdirSync(policies, { recursive: true });
  writeFileSync(join(policies, "claude.yaml"), "agent: claude-desktop\nallow: [files__read_text_file]\n");
  const aegisHome = join(home, "home");
  const child = spawn(process.execPath, [program, "backend", "--port", "0", "--policies", policies], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env.PATH, AEGIS_HOME: aegisHome },
  });
  let url: string | undefined;
  for await (const line of createInterface({ input: child.stderr })) {
    url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
    if (url !== undefined) break;
  }
  if (url === undefined) throw new Error("the backend did not start");
  child.stderr.resume();
  const base = url;
  return {
    process: child,
    async asGateway() {
      const admin = readFileSync(join(aegisHome, "admin.token"), "utf8").trim();
      const made = await post(`${base}/v1/tokens`, admin, {
        name: "gateway",
        role: "agent",
        agent: "claude-desktop",
      });
      const token = String(made.token);
      await post(`${base}/v1/agents`, token, { name: "claude-desktop" });
      const joining = { pid: process.pid, label: "bench", address: null, host: "bench" };
      const { id } = await post(`${base}/v1/gateways`, token, joining);
      return { url: base, token, gateway: String(id) };
    },
  };
}

async function post(url: string, token: string, body: object): Promise<Record<string, unknown>> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}
