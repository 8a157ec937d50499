import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { Config, StdioServer } from "../config.js";
import { AegisError } from "../errors.js";
import { realPath } from "../real-path.js";
import { visible } from "../visible.js";

/** A way in which a server reaches what decides about it (invariant 5). */
export interface Finding {
  readonly server: string;
  /** `refused` keeps the gateway from starting; `allowed` is the same under `--allow-home`. */
  readonly severity: "refused" | "allowed" | "warning";
  readonly message: string;
}

export interface BoundaryOptions {
  /** AEGIS_HOME. */
  readonly home: string;
  /** The policies folder; null where the policies are a backend's somewhere else. */
  readonly policies: string | null;
  readonly allowHome: boolean;
}

interface Protected {
  readonly name: string;
  readonly path: string;
  /** What lies in it is as good as itself. */
  readonly folder: boolean;
}

/**
 * Looks at what every stdio server is given: its command, arguments and working directory, with symbolic links
 * resolved. A server that is given a path which holds, is or lies in AEGIS_HOME or the policies, or holds or is the
 * configuration, could approve its own calls.
 *
 * @returns what was found and does not keep the gateway from starting
 * @throws AegisError home_reachable
 */
export function checkBoundary(config: Config, options: BoundaryOptions): Finding[] {
  const paths: Protected[] = [
    ...places("AEGIS_HOME", options.home, true),
    ...(options.policies === null ? [] : places("the policies", options.policies, true)),
    ...(config.file === null ? [] : places("the configuration", config.file, false)),
  ];
  const findings: Finding[] = [];
  for (const [key, server] of config.servers) {
    if (server.kind === "stdio") findings.push(...findingsFor(key, server, paths, options.allowHome));
  }
  const refused = findings.filter((finding) => finding.severity === "refused");
  if (refused.length > 0) {
    throw new AegisError("home_reachable", refused.map((finding) => finding.message).join("\n"), {
      hint:
        "Whoever can call its tools could then approve calls, change policies or rewrite the ledger. Give the server a " +
        "folder apart from these paths, or move AEGIS_HOME; --allow-home starts anyway, and is recorded.",
    });
  }
  return findings;
}

/** Where it is, and where the link to it stands: who replaces the link replaces the file. */
function places(name: string, path: string, folder: boolean): Protected[] {
  const link = join(realPath(dirname(resolve(path))), basename(path));
  return [...new Set([realPath(path), link])].map((place) => ({ name, path: place, folder }));
}

function findingsFor(
  key: string,
  server: StdioServer,
  paths: readonly Protected[],
  allowHome: boolean,
): Finding[] {
  const findings: Finding[] = [];
  const given = allowHome ? "allowed" : "refused";
  const add = (severity: Finding["severity"], what: string, reached: string): void => {
    findings.push({
      server: key,
      severity,
      message: `The server ${key} is given ${what}, which ${reached}.`,
    });
  };
  const cwd = resolve(server.cwd ?? process.cwd());
  const reachedByCwd = reaches(realPath(cwd), paths);
  if (reachedByCwd !== null && server.cwd !== undefined) {
    add(given, `the working directory ${visible(cwd)}`, reachedByCwd.sentence);
  } else if (reachedByCwd !== null) {
    // Clients start the gateway from wherever they stand, often / or the home folder: only being within is refused.
    const within = reachedByCwd.inside && reachedByCwd.name === "AEGIS_HOME";
    add(
      within ? given : "warning",
      `the gateway's own working directory ${visible(cwd)}`,
      reachedByCwd.sentence,
    );
  }
  const words = [
    ["command", server.command] as const,
    ...server.args.map((word) => ["argument", word] as const),
  ];
  for (const [kind, word] of words) {
    // A command without a slash is looked up in PATH.
    if (kind === "command" && !/[/\\]/.test(word)) continue;
    const reached = pathsIn(word, cwd)
      .map((path) => reaches(realPath(path), paths))
      .find((found) => found !== null);
    if (reached) add(given, `the ${kind} ${visible(word)}`, reached.sentence);
  }
  return findings;
}

/**
 * Every path a server could take a word for: itself, a `file:` URL, what follows `=`, the parts of `/a:/b` and
 * `src=/a,dst=/b` as containers are given them. `~` is opened: some servers do that themselves.
 */
function pathsIn(word: string, cwd: string): string[] {
  const parts = new Set([word, word.slice(word.indexOf("=") + 1)]);
  // A text with spaces is a sentence or a script: taking it apart would find a path in every comment.
  if (!/\s/.test(word)) {
    for (const part of word.split(process.platform === "win32" ? /[=,;]/ : /[=,;:]/)) {
      if (/^([/~]|\.{1,2}([/\\]|$)|[A-Za-z]:[\\/])/.test(part)) parts.add(part);
    }
  }
  return [...parts].flatMap((part) => {
    if (part === "" || part.includes("\0")) return [];
    if (/^file:/i.test(part)) return fromFileUrl(part);
    if (/^~($|[/\\])/.test(part)) return [join(homedir(), part.slice(1))];
    return [isAbsolute(part) ? part : resolve(cwd, part)];
  });
}

function fromFileUrl(text: string): string[] {
  try {
    return [fileURLToPath(text)];
  } catch {
    return [];
  }
}

/** The first protected path that `path` holds, is, or lies in. */
function reaches(
  path: string,
  paths: readonly Protected[],
): { readonly name: string; readonly inside: boolean; readonly sentence: string } | null {
  for (const { name, path: target, folder } of paths) {
    const same = path === target;
    const verb = same
      ? "is"
      : isWithin(target, path)
        ? "holds"
        : folder && isWithin(path, target)
          ? "lies in"
          : null;
    if (verb === null) continue;
    const sentence = same ? `is ${name}` : `${verb} ${name} (${visible(target)})`;
    return { name, inside: verb !== "holds", sentence };
  }
  return null;
}

function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
