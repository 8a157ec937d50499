import { existsSync } from "node:fs";
import { join } from "node:path";
import { AegisError, reasonOf } from "../errors.js";

/**
 * Refuses what is not the embedded backend. The order is the same for CLI and gateway, so that a kill reaches what a
 * client started: the flag, AEGIS_BACKEND_URL, `backend:` in AEGIS_HOME/config.yaml, else embedded. A backend that was
 * asked for and cannot be used is never replaced by another: two halves of one control would not see each other.
 *
 * @throws AegisError backend_unsupported, config_invalid
 */
export async function requireEmbedded(
  flag: string | undefined,
  env: NodeJS.ProcessEnv,
  home: string,
): Promise<void> {
  const asked = await askedFor(flag, env, home);
  if (asked === null) return;
  throw new AegisError(
    "backend_unsupported",
    `${asked.where} names the backend ${withoutSecret(asked.url)}, and this version has the embedded one only.`,
    { hint: `Remove it to use the embedded backend in ${home}.` },
  );
}

async function askedFor(
  flag: string | undefined,
  env: NodeJS.ProcessEnv,
  home: string,
): Promise<{ where: string; url: string } | null> {
  if (flag !== undefined) return { where: "--backend", url: flag };
  const variable = env.AEGIS_BACKEND_URL;
  if (variable) return { where: "AEGIS_BACKEND_URL", url: variable };
  const file = join(home, "config.yaml");
  if (!existsSync(file)) return null;
  // Not at the top: no other path of most commands needs the YAML parser.
  const [{ parseConfigText }, { substitute }, { readTextFile }] = await Promise.all([
    import("../config-yaml.js"),
    import("../config-substitute.js"),
    import("../text-file.js"),
  ]);
  const text = await readTextFile(file).catch((thrown: unknown) => {
    throw new AegisError("config_invalid", `${file}: ${reasonOf(thrown)}`, { cause: thrown });
  });
  const settings = parseConfigText(file, text, (raw) => substitute(raw, env));
  const url = settings.only(["backend"]).text("backend");
  return url === undefined ? null : { where: file, url };
}

function withoutSecret(url: string): string {
  return url.replace(/(^|\/\/)[^/@]*@/, "$1");
}
