/**
 * A governed agent, told as a story: a real MCP client (SDK v1) works on a folder through `aegis wrap` and the real
 * filesystem server. One call is allowed, one blocked, one held until a second process approves it; then the agent is
 * killed. Every sentence is checked before it is printed: the story ends with exit code 1 where it is not true.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { ToolResult } from "../test/fixtures/clients.js";
import { type Finished, jsonLines, makePlace, wrapClient } from "../test/fixtures/gateway.js";
import { filesystemServer } from "../test/fixtures/servers.js";
import { bold, command, dim, shown, step } from "./print.js";

const agent = "storyteller";
const policy = `agent: ${agent}
default: block
allow:
  - files__read_text_file
block:
  - "*__move_file"
review:
  - action: files__write_file
    reason: What is written here is read by customers
`;

const place = makePlace({ "storyteller.yaml": policy });
process.once("exit", () => place.remove());
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
setTimeout(() => {
  console.error("The story did not end within 28 s.");
  process.exit(1);
}, 28_000).unref();

const notes = join(place.work, "notes.txt");
const draft = join(place.work, "draft.txt");
writeFileSync(notes, "The launch is on Monday.\n");

const client = await wrapClient(place, "v1", filesystemServer(place.work), { agent, server: "files" });
try {
  await tell();
} catch (thrown) {
  console.error(`\n${thrown instanceof Error ? thrown.message : String(thrown)}`);
  process.exitCode = 1;
} finally {
  await client.close();
}

async function tell(): Promise<void> {
  console.log(bold("An agent works on a folder, through the gateway and under this policy:\n"));
  shown(policy);

  step("It reads a file, which the policy allows.");
  const read = await client.call("read_text_file", { path: notes });
  checked(textOf(read).includes("The launch is on Monday."), "the file's text arrives", read);
  shown(textOf(read));

  step("It moves a file, which the policy blocks.");
  const moved = await client.call("move_file", { source: notes, destination: draft });
  checked(decisionOf(moved) === "BLOCK" && moved.isError === true, "the call is refused", moved);
  checked(existsSync(notes) && !existsSync(draft), "the file stays where it is");
  shown(textOf(moved));

  step("It writes a file, which a person must decide. The call is held.");
  const writing = client.call(
    "write_file",
    { path: draft, content: "See you on Monday!\n" },
    { timeout: 20_000 },
  );
  const [id, args] = await heldCall();
  checked(!existsSync(draft), "nothing is written while the call is held");
  command("aegis approvals --json", `#${id}  ${args}`);
  console.log();
  const approved = await aegis("approve", String(id), "--reason", "Monday is right");
  command(`aegis approve ${id}`, approved.stdout);
  console.log();
  const from = performance.now();
  const written = await writing;
  checked(written.isError !== true, "the approved call runs", written);
  checked(readFileSync(draft, "utf8") === "See you on Monday!\n", "the file is written as approved");
  const waited = Math.max(1, Math.round(performance.now() - from));
  shown(`${textOf(written)} ${dim(`(${waited} ms after the command returned)`)}`);

  step("A person stops the agent. What was allowed a moment ago is refused.");
  command(`aegis kill ${agent}`, (await aegis("kill", agent, "--reason", "End of the story")).stdout);
  const killed = await client.call("read_text_file", { path: notes });
  checked(decisionOf(killed) === "KILLED" && killed.isError === true, "the call is refused", killed);
  console.log();
  shown(textOf(killed));

  step("All of it is in the ledger, and the ledger holds.");
  const log = await aegis("log", agent);
  for (const word of ["ALLOW", "BLOCK", "REVIEW", "KILLED"]) {
    checked(log.stdout.includes(word), `the ledger says ${word}`, log);
  }
  command(`aegis log ${agent}`, log.stdout);
  console.log();
  command("aegis audit verify", (await aegis("audit", "verify")).stdout);
}

/** Runs a command in a process of its own, as a person at another terminal would. */
async function aegis(...args: string[]): Promise<Finished> {
  const finished = await place.cli(args);
  checked(finished.code === 0, `aegis ${args.join(" ")} succeeds`, finished);
  return finished;
}

/** Id and arguments of the call that waits. */
async function heldCall(): Promise<[id: number, args: string]> {
  for (;;) {
    const { stdout } = await aegis("approvals", "--json");
    const [approval] = jsonLines<{ id: number; tool: string; arguments: unknown }>(stdout);
    if (approval) {
      checked(approval.tool === "write_file", "it is the write that is held", approval);
      return [approval.id, JSON.stringify(approval.arguments)];
    }
    await delay(100);
  }
}

function textOf(result: ToolResult): string {
  return (result.content ?? []).map(({ text }) => text ?? "").join("\n");
}

function decisionOf(result: ToolResult): unknown {
  const meta = result._meta?.["io.github.aegis-sentinel/decision"];
  return typeof meta === "object" && meta !== null && "decision" in meta ? meta.decision : undefined;
}

/** @throws where the story is not true, with what was seen instead */
function checked(holds: boolean, what: string, seen?: unknown): asserts holds {
  if (!holds) throw new Error(`Not as told: ${what}. ${seen === undefined ? "" : JSON.stringify(seen)}`);
}
