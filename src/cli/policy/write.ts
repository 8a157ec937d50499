import { randomUUID } from "node:crypto";
import { chown, mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AegisError } from "../../errors.js";
import { realPath } from "../../real-path.js";
import { visible } from "../../visible.js";

/**
 * Puts a text in the place of a policy file, so that whoever reads it finds the old one or the new one, whole. Its mode
 * and owner stay; a link stays one, and what it leads to is replaced.
 *
 * @param before what the file held when the change was made; null for a file that was not there
 * @throws AegisError policy_invalid where somebody else has changed it meanwhile
 */
export async function replacePolicy(file: string, before: string | null, text: string): Promise<void> {
  const target = realPath(file);
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  const known = before === null ? null : await stat(target);
  // With a dot in front, no gateway takes it for a policy.
  const temporary = join(dirname(target), `.${basename(target)}.${randomUUID()}`);
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(text);
      if (known !== null) await handle.chmod(known.mode & 0o777);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (known !== null && known.uid !== process.getuid?.()) await chown(temporary, known.uid, known.gid);
    if ((await textOf(target)) !== before) {
      throw new AegisError("policy_invalid", `${visible(file)} was changed by somebody else meanwhile.`, {
        hint: "Nothing was written. Run the command again.",
      });
    }
    await rename(temporary, target);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function textOf(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return null;
    throw thrown;
  }
}
