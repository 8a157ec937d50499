import { spawn } from "node:child_process";
import { AegisError } from "../../errors.js";
import { visible } from "../../visible.js";
import { type Notice, noticeText } from "./notice.js";
import type { Target } from "./outlet.js";

/** Milliseconds until a program that does not end is killed. */
const DEADLINE = 10_000;

/**
 * A program on this machine, such as one that shows a notification on the desktop. Without a shell: a value is an
 * argument or a variable, whatever characters it has.
 */
export function commandTarget(command: readonly string[]): Target {
  const [program = "", ...rest] = command;
  return {
    name: "notify.command",
    lanes: 2,
    most: 20,
    tries: 1,
    prepare: (notice) => {
      const values = valuesOf(notice);
      const args = rest.map((argument) => values.get(argument) ?? argument);
      return (signal) => run(program, args, environment(values), signal);
    },
  };
}

function valuesOf(notice: Notice): ReadonlyMap<string, string> {
  const values: Record<string, string> = {
    event: notice.event,
    id: String(notice.id),
    agent: notice.agent,
    action: notice.action,
    server: notice.server,
    tool: notice.tool,
    rule: notice.rule ?? "",
    reason: notice.reason,
    expires: notice.expiresAt,
    link: notice.link ?? "",
    text: noticeText(notice),
  };
  return new Map(Object.entries(values).map(([name, value]) => [`{${name}}`, asArgument(value)]));
}

/** A tool called `--config=…` is not to become an option of the program. */
function asArgument(value: string): string {
  const shown = visible(value);
  return shown.startsWith("-") ? ` ${shown}` : shown;
}

/** Ours, as a desktop's programs need it, but without what is for Aegis alone: a token among it. */
function environment(values: ReadonlyMap<string, string>): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.toUpperCase().startsWith("AEGIS_"));
  const added = [...values].map(([name, value]) => [
    `AEGIS_NOTIFY_${name.slice(1, -1).toUpperCase()}`,
    value,
  ]);
  return Object.fromEntries([...own, ...added]) as NodeJS.ProcessEnv;
}

function run(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    // stdout is protocol (invariant 8): the program has none.
    const child = spawn(program, args, {
      env,
      stdio: "ignore",
      shell: false,
      windowsHide: true,
      timeout: DEADLINE,
      killSignal: "SIGKILL",
      signal,
    });
    child.once("error", (error) => reject(error));
    child.once("exit", (code, killed) => {
      if (code === 0) resolve();
      else
        reject(new AegisError("backend_unavailable", `the program ended with ${killed ?? `code ${code}`}`));
    });
  });
}
