import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Payload } from "./calls.mjs";
import type { Measured, Target } from "./load.mjs";

/** The load generator from the side of the orchestrator. */
export class Load {
  private readonly child: ChildProcess = fork(fileURLToPath(new URL("load.mjs", import.meta.url)), {
    execArgv: [],
  });
  private readonly waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  private nextId = 0;

  constructor() {
    this.child.on("message", (message: { id: number; result?: unknown; error?: string }) => {
      const asked = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.error === undefined) asked?.resolve(message.result);
      else asked?.reject(new Error(message.error));
    });
    this.child.on("exit", (code) => {
      for (const { reject } of this.waiting.values())
        reject(new Error(`the load generator exited with ${code}`));
    });
  }

  /** Connects under a name; resolves with the pid of what it started, or 0. */
  open(path: string, target: Target, sessions: number): Promise<number> {
    return this.ask<number>({ op: "open", path, target, sessions });
  }

  run(path: string, payload: Payload, callers: number, milliseconds: number): Promise<Measured> {
    return this.ask<Measured>({ op: "run", path, cell: { payload, callers, milliseconds } });
  }

  /** Milliseconds from spawn to the answer of the first tools/list. */
  start(target: Target): Promise<number> {
    return this.ask<number>({ op: "start", target });
  }

  async close(): Promise<void> {
    if (this.child.connected) await this.ask({ op: "close" });
    this.child.disconnect();
  }

  private ask<T>(order: object): Promise<T> {
    const id = this.nextId++;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: (value) => resolve(value as T), reject });
      this.child.send({ id, ...order });
    });
  }
}

/** Kernel ticks a second, as /proc counts them. */
const ticks = 100;

/** Microseconds of CPU, user and system, that a process and its threads have spent; null where /proc does not tell. */
export function cpuOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return ((Number(fields[11]) + Number(fields[12])) * 1_000_000) / ticks;
  } catch {
    return null;
  }
}
