import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { reasonOf } from "../../errors.js";
import { recordHash } from "./chain.js";
import { linesOf } from "./lines.js";

/** What is read from the end of a file to find its last line: more than any checkpoint takes. */
const TAIL = 4_096;

/** What an anchor says: the checkpoints that were in the ledger when they were made. */
export interface Anchor {
  /** For people: the path. */
  readonly name: string;
  /** Hashes of the checkpoint records by their ids; null where the file is missing or holds nothing. */
  readonly checkpoints: ReadonlyMap<number, string> | null;
  /** When each was made, ISO 8601. */
  readonly times: ReadonlyMap<number, string>;
  /** The one with the highest number. */
  readonly newest: { readonly id: number; readonly body: string } | null;
  /** Why it can not be believed as a whole, or null. */
  readonly problem: string | null;
}

/**
 * Reads an anchor file: a line for each checkpoint, which is the body of its record. Several processes may have written
 * a line twice; a line that a crash cut short stands if the whole one follows.
 */
export async function readAnchor(path: string): Promise<Anchor> {
  const checkpoints = new Map<number, string>();
  const times = new Map<number, string>();
  const torn: Array<{ readonly line: number; readonly text: string }> = [];
  let newest: Anchor["newest"] = null;
  let forked: number | null = null;
  let number = 0;
  try {
    for await (const lines of linesOf(path)) {
      for (const line of lines) {
        number++;
        if (line === "") continue;
        const found = checkpointOf(line);
        if (found === null) {
          torn.push({ line: number, text: line });
          continue;
        }
        const mended = torn.findIndex(({ text }) => line.startsWith(text));
        if (mended >= 0) torn.splice(mended, 1);
        const hash = recordHash(line);
        const before = checkpoints.get(found.id);
        if (before !== undefined && before !== hash) forked ??= found.id;
        if (before !== undefined) continue;
        checkpoints.set(found.id, hash);
        times.set(found.id, found.at);
        if (newest === null || found.id > newest.id) newest = { id: found.id, body: line };
      }
    }
  } catch (thrown) {
    const missing = thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
    const problem = missing ? null : reasonOf(thrown);
    return { name: path, checkpoints: null, times, newest: null, problem };
  }
  const problem =
    forked === null ? tornProblem(torn) : `it holds two different checkpoints with the number ${forked}`;
  return { name: path, checkpoints: checkpoints.size === 0 ? null : checkpoints, times, newest, problem };
}

function tornProblem([first]: ReadonlyArray<{ readonly line: number }>): string | null {
  return first === undefined ? null : `its line ${first.line} is no checkpoint`;
}

/** Appends lines; they are on the disk when it resolves. A line that a crash left unfinished is closed first. */
export async function appendAnchor(path: string, lines: readonly string[]): Promise<void> {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600);
  try {
    const { size } = await file.stat();
    const unfinished = size > 0 && !(await tailOf(file, size, 1)).endsWith("\n");
    await file.appendFile(`${unfinished ? "\n" : ""}${lines.join("\n")}\n`);
    await file.sync();
    if (size === 0) await syncFolder(dirname(path));
  } finally {
    await file.close();
  }
}

/** Number of the newest checkpoint in the file; 0 where there is none. */
export async function newestInAnchor(path: string): Promise<number> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return 0;
    throw thrown;
  }
  try {
    const { size } = await file.stat();
    const lines = (await tailOf(file, size, TAIL)).split("\n");
    return Math.max(0, ...lines.map((line) => checkpointOf(line)?.id ?? 0));
  } finally {
    await file.close();
  }
}

/** A name is durable only once its folder is; Windows opens no folders. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function tailOf(file: FileHandle, size: number, most: number): Promise<string> {
  const length = Math.min(size, most);
  const bytes = Buffer.alloc(length);
  await file.read(bytes, 0, length, size - length);
  return bytes.toString("utf8");
}

function checkpointOf(line: string): { readonly id: number; readonly at: string } | null {
  try {
    const body = JSON.parse(line) as Record<string, unknown> | null;
    if (body?.kind !== "checkpoint" || !Number.isSafeInteger(body.id)) return null;
    return { id: body.id as number, at: String(body.at) };
  } catch {
    return null;
  }
}
