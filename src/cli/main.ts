#!/usr/bin/env node
import { CommanderError } from "commander";
import type { StartedThread } from "../backend/thread/threaded.js";
import { AegisError, reasonOf } from "../errors.js";
import { visible } from "../visible.js";
import { buildProgram } from "./program.js";

const done = 0;
const failed = 1;
const wrongUsage = 2;

/** Exit codes: 0 done, 1 refused or failed, 2 wrong usage; `wrap` exits with the code of what it wrapped. */
async function main(): Promise<number> {
  let code = done;
  // Loaded only by commands that need it: `aegis --help` opens no database.
  const embedded = async () => (await import("../backend/embedded.js")).openEmbedded;
  const program = buildProgram(embedded, startThread, (result) => {
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

async function startThread(): Promise<StartedThread> {
  // Relative to this file, which stays where it is in every build.
  const file = new URL("../backend/thread/thread.js", import.meta.url);
  return (await import("../backend/thread/threaded.js")).startThread(file);
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
