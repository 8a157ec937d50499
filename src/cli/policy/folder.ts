import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { AegisError, reasonOf } from "../../errors.js";
import { parsePolicy, policyNames, policySet, policyTexts } from "../../policy/file/load.js";
import type { ParseOptions } from "../../policy/file/parse.js";
import type { PolicyFile, PolicySet } from "../../policy/policy.js";
import { realPath } from "../../real-path.js";
import { visible } from "../../visible.js";

export const remedyOfInsecurity =
  "Policies are taken from files and folders of this user only: chown them, or chmod go-w.";

/** The policy files of a folder, unread. */
export type PolicyTexts = Awaited<ReturnType<typeof policyTexts>>;

/** What a folder of policies looks like from outside. */
export interface Look {
  /** Another one, where anything that matters may have changed. */
  readonly signature: string;
  /** Why what it holds may be somebody else's, in sentences. */
  readonly problems: readonly string[];
  /** Files in it that are policies. */
  readonly count: number;
}

/**
 * Looks at the folder and at each policy file, without reading one. Who can write one of them decides what agents may do
 * (threat P24): they belong to this user or to root, and nobody else may write them.
 */
export async function lookAt(folder: string): Promise<Look> {
  const real = realPath(folder);
  const found: unknown[] = [real];
  const problems: string[] = [];
  const folders = new Set([real]);
  const files: string[] = [];
  try {
    for (const name of await policyNames(folder)) {
      files.push(join(real, name));
      // Who can write the folder that a link leads to can put another file there.
      folders.add(dirname(realPath(join(real, name))));
    }
  } catch (thrown) {
    return { signature: reasonOf(thrown), problems: [reasonOf(thrown)], count: 0 };
  }
  for (const path of [...folders, ...files]) {
    try {
      const { dev, ino, mtimeNs, ctimeNs, size, uid, mode } = await stat(path, { bigint: true });
      found.push([path, dev, ino, mtimeNs, ctimeNs, size].map(String));
      const problem = insecurity(Number(uid), Number(mode));
      if (problem !== null) problems.push(`${path} ${problem}`);
    } catch (thrown) {
      found.push([path, reasonOf(thrown)]);
      if (path !== real || !isAbsent(thrown)) problems.push(`${path} cannot be read: ${reasonOf(thrown)}`);
    }
  }
  return { signature: JSON.stringify(found), problems, count: files.length };
}

/**
 * Reads what a look has found.
 *
 * @returns null where it changed meanwhile: look again
 * @throws AegisError policy_invalid
 */
export async function readAsSeen(folder: string, seen: Look): Promise<PolicyTexts | null> {
  if (seen.problems.length > 0) {
    throw new AegisError("policy_invalid", seen.problems.map(visible).join("\n"), {
      hint: remedyOfInsecurity,
    });
  }
  if (seen.count === 0) {
    // A folder that is moved away, or emptied to be filled again, must not loosen anything meanwhile.
    throw new AegisError("policy_invalid", `${visible(folder)} holds no policy file any more`, {
      hint: "Put the files back. A gateway that starts without any leaves every call to a person.",
    });
  }
  const texts = await policyTexts(folder);
  return (await lookAt(folder)).signature === seen.signature ? texts : null;
}

/**
 * Reads texts of a folder together, as `loadPolicies` reads the folder.
 *
 * @throws AegisError policy_invalid, with the problems of all of them
 */
export function readTexts(texts: PolicyTexts, folder: string, options: ParseOptions): PolicySet {
  const files: PolicyFile[] = [];
  const problems: string[] = [];
  for (const { name, text } of texts) {
    try {
      files.push(parsePolicy(text, join(folder, name), options));
    } catch (thrown) {
      if (!(thrown instanceof AegisError)) throw thrown;
      problems.push(...thrown.message.split("\n"));
    }
  }
  if (problems.length === 0) return policySet(files);
  throw new AegisError("policy_invalid", problems.join("\n"), {
    hint: `Correct it, then run: aegis policy check ${visible(folder)}`,
  });
}

/** Not by their revisions alone, which leave out what no decision depends on and files name themselves by. */
export function isSamePolicy(one: PolicySet, other: PolicySet): boolean {
  return one.revision === other.revision && JSON.stringify(one.files) === JSON.stringify(other.files);
}

/** Windows has neither: there the folder's access list decides. */
function insecurity(uid: number, mode: number): string | null {
  const user = process.getuid?.();
  if (user === undefined) return null;
  if (uid !== user && uid !== 0) return `belongs to another user (uid ${uid})`;
  return (mode & 0o022) === 0 ? null : "can be written by others than its owner (chmod go-w)";
}

function isAbsent(thrown: unknown): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT";
}
