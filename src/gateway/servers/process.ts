import type { ChildProcess } from "node:child_process";
import spawn from "cross-spawn";

/**
 * A server's process, leader of a group of its own: `npx` and shells start the real server as a grandchild, and a
 * signal to the leader alone would leave that one running.
 */
export function startProcess(
  command: string,
  args: readonly string[],
  options: { env: Record<string, string>; cwd: string | undefined },
): ChildProcess {
  const child = spawn(command, [...args], {
    env: options.env,
    cwd: options.cwd,
    stdio: ["pipe", "pipe", "pipe"],
    shell: false,
    windowsHide: true,
    detached: process.platform !== "win32",
  });
  if (child.pid !== undefined) {
    groups.add(child.pid);
    const { pid } = child;
    child.once("exit", () => {
      if (!signalGroup(pid, 0)) groups.delete(pid);
    });
  }
  return child;
}

/** Groups that may still have members: ended when this process ends in whatever way leaves it a chance. */
const groups = new Set<number>();
process.once("exit", () => {
  for (const pid of groups) signalGroup(pid, "SIGKILL");
});

/** False where the group has no member left. */
function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(process.platform === "win32" ? pid : -pid, signal);
    return true;
  } catch {
    return false;
  }
}

/**
 * Ends a process group as the MCP lifecycle asks: end of stdin first, then SIGTERM, then SIGKILL; 1 s in all, so that
 * a gateway with many servers is gone within 2 s.
 */
export async function endProcess(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  child.stdin?.end();
  for (const [signal, patience] of [
    ["SIGTERM", 300],
    ["SIGKILL", 500],
  ] as const) {
    if (await groupEnded(pid, child, patience)) break;
    signalGroup(pid, signal);
  }
  await groupEnded(pid, child, 200);
  groups.delete(pid);
  // A grandchild outside of the group may hold the pipes open; nothing it writes is ours any more.
  child.stdout?.destroy();
  child.stderr?.destroy();
}

async function groupEnded(pid: number, child: ChildProcess, patience: number): Promise<boolean> {
  const until = performance.now() + patience;
  for (;;) {
    const leaderEnded = child.exitCode !== null || child.signalCode !== null;
    if (leaderEnded && !signalGroup(pid, 0)) return true;
    if (performance.now() >= until) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
