import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { OfferedTools } from "../../gateway/gateway.js";
import { starterPolicy } from "../../policy/file/starter.js";
import type { PolicySet } from "../../policy/policy.js";

/** The file a person edits for this agent: the one that names it, else where its own would be. */
export function policyFileFor(folder: string, agent: string, policies: PolicySet): string {
  const own = policies.files.find((file) => file.agent === agent);
  return own?.file ?? join(folder, `${fileName(agent)}.yaml`);
}

/**
 * Writes a first policy: everything is reviewed, every tool is listed as a comment. A file that is there is never
 * touched. Actions are written with their server, which `wrap` and `gateway` read alike.
 */
export async function writeStarter(
  file: string,
  agent: string,
  offered: OfferedTools,
  say: (sentence: string) => void,
): Promise<void> {
  const servers = offered.map(({ key, tools }) => ({
    key,
    tools: tools.map(({ name, description, hints }) => ({
      name,
      hints,
      ...(description === undefined ? {} : { description }),
    })),
  }));
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  try {
    await writeFile(file, starterPolicy(agent, servers, { bareNames: false }), { flag: "wx", mode: 0o600 });
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST") return;
    throw thrown;
  }
  say(
    `there was no policy, so a person decides every call. A first policy is in ${file}: what you save there holds at once.`,
  );
}

/** An agent's name may hold what a file's must not (`../x`); the hash keeps two of them apart. */
function fileName(agent: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(agent)) return agent;
  const hash = createHash("sha256").update(agent).digest("hex").slice(0, 8);
  const slug = agent.replace(/[^A-Za-z0-9_-]+/g, "-").slice(0, 60);
  return `${slug.replace(/^-+|-+$/g, "") || "agent"}-${hash}`;
}
