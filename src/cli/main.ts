#!/usr/bin/env node
import { type StartedThread, startThread } from "../backend/thread/threaded.js";
import { AegisError, reasonOf } from "../errors.js";
import { visible } from "../visible.js";

const done = 0;
const failed = 1;
const wrongUsage = 2;

/** Exit codes: 0 done, 1 refused or failed, 2 wrong usage; `wrap` exits with the code of what it wrapped. */
async function main(): Promise<number> {
  const thread = backendThread();
  const [{ CommanderError }, { buildProgram }] = await Promise.all([
    import("commander"),
    import("./program.js"),
  ]);
  let code = done;
  // Loaded only by commands that need it: `aegis --help` opens no database.
  const embedded = async () => (await import("../backend/open-backend.js")).openBackend;
  const program = buildProgram(embedded, thread, (result) => {
    code = result;
  });
  try {
    await program.parseAsync();
    return code;
  } catch (thrown) {
    // Commander has said what was wrong already. Help that was asked for is a result, help instead of a command is not.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? done : wrongUsage;
    explain(thrown);
    return thrown instanceof AegisError && thrown.code === "usage" ? wrongUsage : failed;
  }
}

/** The thread of a gateway's backend takes longest to load: it starts before even the command line is read. */
function backendThread(): () => StartedThread {
  // Relative to this file, which stays where it is in every build.
  const start = (): StartedThread => startThread(new URL("../backend/thread/thread.js", import.meta.url));
  const [, , command] = process.argv;
  if (command !== "wrap" && command !== "gateway" && command !== "backend") return start;
  const started = start();
  return () => started;
}

/** What went wrong and what to do, to stderr. A foreign error is not expected here: its stack helps whoever reports it. */
function explain(thrown: unknown): void {
  const lines = reasonOf(thrown).split("\n").map(visible);
  process.stderr.write(`aegis: ${lines.join("\n")}\n`);
  if (thrown instanceof AegisError) {
    if (thrown.hint !== undefined)
      process.stderr.write(`  ${thrown.hint.split("\n").map(visible).join("\n  ")}\n`);
  } else if (process.env.AEGIS_LOG_LEVEL === "debug" && thrown instanceof Error) {
    process.stderr.write(`${(thrown.stack ?? "").split("\n").map(visible).join("\n")}\n`);
  }
}

process.exitCode = await main();
