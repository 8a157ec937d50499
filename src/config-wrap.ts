import type { Config } from "./config.js";
import { emptyConfig } from "./config-file.js";
import { isServerKey, serverDefaults, slugKey } from "./config-servers.js";
import { AegisError } from "./errors.js";

/**
 * The configuration of `aegis wrap`: one stdio server, which is given this process's own environment, as it would have
 * had without aegis in between, except for the variables of aegis.
 *
 * @param options.server its key; derived from the command where it is left out
 * @throws AegisError usage where the key is not a legal one
 */
export function wrapConfig(
  command: string,
  args: readonly string[],
  options: { readonly server?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Config {
  const key = options.server ?? deriveKey([command, ...args]);
  if (!isServerKey(key)) {
    throw new AegisError("usage", `--server ${JSON.stringify(key)} is not a key`, {
      hint: "A server's key is lower-case letters and digits, joined by single _ or -, and not sdk.",
    });
  }
  const env = new Map<string, string>();
  for (const [name, value] of Object.entries(options.env ?? process.env)) {
    if (value !== undefined && !name.toUpperCase().startsWith("AEGIS_")) env.set(name, value);
  }
  const server = { key, ...serverDefaults, kind: "stdio", command, args, env, cwd: undefined } as const;
  return { ...emptyConfig(null), servers: new Map([[key, server]]) };
}

/** Programs that start another: the server is what follows them. */
const launchers = new Set(
  "npx npm pnpm yarn bun bunx deno node tsx uv uvx pipx python python3 sh bash env exec x dlx run tool start".split(
    " ",
  ),
);

/** File names that say nothing: the folder above does. */
const generic = new Set(
  "index main server mcp cli run start app bin build dist lib src out __main__".split(" "),
);

/**
 * A server's key from the command that starts it: `npx -y @modelcontextprotocol/server-filesystem@1 /x` → `filesystem`.
 * `server` where nothing can be told from it.
 */
export function deriveKey(words: readonly string[]): string {
  const container = /^(docker|podman)$/.test(programName(words[0] ?? ""));
  const word = words.find((candidate) =>
    // Flags of `docker run` take values; the image is the word that looks like owner/name.
    container
      ? /^[\w.-]+(\/[\w.-]+)+(:[\w.-]+)?$/.test(candidate)
      : !candidate.startsWith("-") && !launchers.has(programName(candidate)),
  );
  for (const part of (word ?? "").split(/[/\\]+/).toReversed()) {
    const bare = part
      .replace(/^@/, "")
      .replace(/(?<=.)(@|==|:).*$/, "")
      .replace(/\.(js|mjs|cjs|ts|mts|py|exe|cmd|bat|ps1|sh)$/i, "");
    const key = slugKey(bare.replace(/^((mcp|server)[-_])+/i, "").replace(/([-_](mcp|server))+$/i, ""));
    if (key !== "" && !generic.has(key)) return key;
  }
  return "server";
}

function programName(word: string): string {
  const name = word.split(/[/\\]+/).at(-1) ?? "";
  return name.replace(/\.(exe|cmd|bat)$/i, "").toLowerCase();
}
