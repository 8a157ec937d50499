import { spawn } from "node:child_process";
import { join } from "node:path";
import { main, type Place, startHttpGateway } from "../test/fixtures/gateway.js";
import { endChild, lineOf } from "../test/fixtures/process.js";
import { repository } from "../test/fixtures/servers.js";
import type { Load } from "./load.js";
import type { Target } from "./load.mjs";

/** The three ways from client to server that are compared. */
export const pathNames = ["direct", "raw", "aegis"] as const;
export type PathName = (typeof pathNames)[number];
export const transports = ["HTTP", "stdio"] as const;
export type TransportName = (typeof transports)[number];

/** Policies and audit are on: every call is decided by a rule and recorded durably before it is forwarded. */
export const policies = { "bench.yaml": 'agent: bench\ndefault: block\nallow: ["bench__*"]\n' };

const server = join(repository, "bench/server.mjs");
const forwarder = join(repository, "bench/raw-forwarder.mjs");

/** The commands of the three stdio paths. */
export function stdioTargets(place: Place): Record<PathName, Target> {
  const direct = [process.execPath, server];
  const target = (command: string[]): Target => ({
    kind: "stdio",
    command,
    env: { AEGIS_HOME: place.home, AEGIS_LOG_LEVEL: "warn" },
    cwd: place.work,
  });
  const flags = ["--agent", "bench", "--server", "bench", "--policies", place.policies];
  return {
    direct: target(direct),
    raw: target([process.execPath, forwarder, ...direct]),
    aegis: target([process.execPath, main, "wrap", ...flags, "--", ...direct]),
  };
}

export interface OpenPaths {
  /** Of the process in the middle; none for the direct path. */
  readonly pids: ReadonlyMap<PathName, number>;
  close(): Promise<void>;
}

/** Starts a server, the raw forwarder and the gateway in front of it on HTTP, and connects the load to each. */
export async function openHttp(load: Load, place: Place, sessions: number): Promise<OpenPaths> {
  const direct = await listening([server, "--http"]);
  const raw = await listening([forwarder, "--http", direct.url]);
  const gateway = await startHttpGateway(place, {
    agent: "bench",
    policies: "./policies",
    servers: { bench: { url: direct.url } },
  });
  const close = async (): Promise<void> => {
    await Promise.all([gateway.stop(), raw.stop(), direct.stop()]);
  };
  try {
    const headers = { authorization: `Bearer ${gateway.token}` };
    await load.open("HTTP direct", { kind: "http", url: direct.url, headers: {} }, sessions);
    await load.open("HTTP raw", { kind: "http", url: raw.url, headers: {} }, sessions);
    await load.open("HTTP aegis", { kind: "http", url: `${gateway.url}/bench`, headers }, sessions);
  } catch (thrown) {
    await close();
    throw thrown;
  }
  const pids = new Map<PathName, number>([
    ["raw", raw.pid],
    ["aegis", gateway.child.pid ?? 0],
  ]);
  return { pids, close };
}

/** Has the load start the three stdio paths; they end with it. */
export async function openStdio(load: Load, place: Place): Promise<OpenPaths> {
  const pids = new Map<PathName, number>();
  const targets = stdioTargets(place);
  for (const name of pathNames) {
    const pid = await load.open(`stdio ${name}`, targets[name], 1);
    if (name !== "direct") pids.set(name, pid);
  }
  return { pids, close: async () => {} };
}

async function listening(args: string[]): Promise<{ url: string; pid: number; stop(): Promise<void> }> {
  // They end with their stdin, so that a run that is interrupted leaves nothing behind.
  const child = spawn(process.execPath, args, { stdio: ["pipe", "ignore", "pipe"] });
  const port = await lineOf(child, /^listening (\d+)/m);
  return { url: `http://127.0.0.1:${port}/mcp`, pid: child.pid ?? 0, stop: () => endChild(child) };
}
