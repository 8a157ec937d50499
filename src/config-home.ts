import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Section } from "./config-yaml.js";
import { AegisError, reasonOf } from "./errors.js";

/** Everything `AEGIS_HOME/config.yaml` may say; each is read by whoever it is for. */
const known = ["backend", "origins", "oidc", "compat", "ledger", "notify"] as const;

/**
 * Reads `AEGIS_HOME/config.yaml`.
 *
 * @returns null where there is none
 * @throws AegisError config_invalid
 */
export async function readHomeConfig(
  home: string,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly file: string; readonly settings: Section } | null> {
  const file = join(home, "config.yaml");
  if (!existsSync(file)) return null;
  // Not at the top: no other path of most commands needs the YAML parser.
  const [{ parseConfigText }, { substitute }, { readTextFile }] = await Promise.all([
    import("./config-yaml.js"),
    import("./config-substitute.js"),
    import("./text-file.js"),
  ]);
  const text = await readTextFile(file).catch((thrown: unknown) => {
    throw new AegisError("config_invalid", `${file}: ${reasonOf(thrown)}`, { cause: thrown });
  });
  return { file, settings: parseConfigText(file, text, (raw) => substitute(raw, env)).only(known) };
}
