import { constants } from "node:fs";
import { open } from "node:fs/promises";

/** Configuration and policies are small; more than this is a mistake or an attack (bytes). */
export const textFileLimit = 1024 * 1024;

/**
 * The text of a small regular file. A directory, a device (`/dev/zero` behind a symlink never ends), a pipe, more than
 * `textFileLimit` bytes and bytes that are not UTF-8 are errors.
 *
 * @throws Error whose message is the reason, without the file's name.
 */
export async function readTextFile(file: string): Promise<string> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    // Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
    handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (thrown) {
    throw new Error(openProblem(thrown), { cause: thrown });
  }
  try {
    const stat = await handle.stat();
    if (stat.isDirectory()) throw new Error("it is a directory, not a file");
    if (!stat.isFile()) throw new Error("it is not a regular file");
    const bytes = Buffer.alloc(textFileLimit + 1);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await handle.read(bytes, length, bytes.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length > textFileLimit) throw new Error("it is larger than 1 MiB");
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
    } catch (thrown) {
      throw new Error("it is not UTF-8 text", { cause: thrown });
    }
  } finally {
    await handle.close();
  }
}

function openProblem(thrown: unknown): string {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  if (code === "ENOENT") return "it does not exist";
  if (code === "EACCES") return "this user may not read it";
  if (code === "EISDIR") return "it is a directory, not a file";
  if (code === "ELOOP") return "its symbolic links lead nowhere";
  return thrown instanceof Error ? thrown.message : String(thrown);
}
