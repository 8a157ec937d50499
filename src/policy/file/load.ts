import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { AegisError, reasonOf } from "../../errors.js";
import { readTextFile } from "../../text-file.js";
import { visible } from "../../visible.js";
import { baseName } from "../label.js";
import type { PolicyFile, PolicySet } from "../policy.js";
import type { Position } from "./document.js";
import { type ParseOptions, readPolicy } from "./parse.js";

/** Problems one error lists; the rest is counted. */
const listed = 20;

/** A problem of a whole file (it cannot be read) has no position. */
interface FileProblem extends Partial<Position> {
  readonly file: string;
  readonly message: string;
}

/**
 * Reads every `*.yaml` and `*.yml` of a folder, not of the folders in it, in the order of their names. Files whose name
 * starts with a dot (locks and backups of editors) and all others are passed over. A folder that is not there, or has
 * no such file, gives a set without files.
 *
 * @throws AegisError `policy_invalid`, listing every problem of every file: where, what was found, what was expected.
 */
export async function loadPolicies(folder: string, options: ParseOptions): Promise<PolicySet> {
  const files: PolicyFile[] = [];
  const problems: FileProblem[] = [];
  for (const name of await policyNames(folder)) {
    const file = join(folder, name);
    try {
      const parsed = readPolicy(await readTextFile(file), file, options);
      if ("policy" in parsed) files.push(parsed.policy);
      else for (const problem of parsed.problems) problems.push({ file, ...problem });
    } catch (thrown) {
      problems.push({ file, message: `cannot be read: ${reasonOf(thrown)}` });
    }
  }
  if (problems.length > 0) throw invalid(problems, folder);
  return policySet(files);
}

/**
 * The texts of a folder's policy files, unread, to publish them.
 *
 * @throws AegisError `policy_invalid` where one cannot be read
 */
export async function policyTexts(
  folder: string,
): Promise<ReadonlyArray<{ readonly name: string; readonly text: string }>> {
  const texts: Array<{ name: string; text: string }> = [];
  for (const name of await policyNames(folder)) {
    const file = join(folder, name);
    try {
      texts.push({ name, text: await readTextFile(file) });
    } catch (thrown) {
      throw invalid([{ file, message: `cannot be read: ${reasonOf(thrown)}` }], folder);
    }
  }
  return texts;
}

/**
 * Reads the text of one policy file; `file` is how errors and rules name it.
 *
 * @throws AegisError `policy_invalid`, listing every problem.
 */
export function parsePolicy(text: string, file: string, options: ParseOptions): PolicyFile {
  const parsed = readPolicy(text, file, options);
  if ("policy" in parsed) return parsed.policy;
  throw invalid(
    parsed.problems.map((problem) => ({ file, ...problem })),
    file,
  );
}

/** Puts files together and gives them their revision, which depends on neither their order nor their folder. */
export function policySet(files: readonly PolicyFile[]): PolicySet {
  const content = files.map(({ file, ...said }) => JSON.stringify([baseName(file), withoutFolder(said)]));
  const revision = createHash("sha256").update(content.toSorted().join("\n")).digest("hex");
  return { revision, files };
}

/** The names of the policy files in a folder, sorted; none where it is not there. */
export /** Every member, whatever there is of it: a part of the format that nobody lists here still counts. */
function withoutFolder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutFolder);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value)
    .filter(([name]) => name !== "file")
    .map(([name, member]) => [name, withoutFolder(member)])
    .toSorted(([one], [other]) => (String(one) < String(other) ? -1 : 1));
}

/** The names of the policy files in a folder, sorted; none where it is not there. */
export async function policyNames(folder: string): Promise<readonly string[]> {
  try {
    const names = await readdir(folder);
    // Code units, not a locale: the order is the same on every machine.
    return names.filter((name) => /^[^.].*\.ya?ml$/is.test(name)).toSorted();
  } catch (thrown) {
    if (errorCode(thrown) === "ENOENT") return [];
    throw new AegisError(
      "policy_invalid",
      `The policies folder ${folder} cannot be read: ${reasonOf(thrown)}`,
      {
        hint: "Name a folder that holds policy files and that this user may read.",
        cause: thrown,
      },
    );
  }
}

function errorCode(thrown: unknown): unknown {
  return thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
}

function invalid(problems: readonly FileProblem[], checked: string): AegisError {
  const lines = problems.slice(0, listed).map(({ file, line, column, message }) => {
    const place = line === undefined ? file : `${file}:${line}:${column}`;
    // A message can quote the file: a line of it, but never a megabyte.
    return visible(`${place}: ${message.slice(0, 500)}`);
  });
  if (problems.length > listed) lines.push(`and ${problems.length - listed} more`);
  return new AegisError("policy_invalid", lines.join("\n"), {
    hint: `Correct it, then run: aegis policy check ${visible(checked)}`,
  });
}
