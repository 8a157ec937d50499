import { dirname, extname, resolve } from "node:path";
import type { Config, ServerConfig } from "./config.js";
import { readClientServers } from "./config-client.js";
import { isServerKey, readPath, readServer, slugKey } from "./config-servers.js";
import { substitute, substituteAsClients } from "./config-substitute.js";
import { parseConfigText, type Section } from "./config-yaml.js";
import { longestTimer } from "./duration.js";
import { AegisError, reasonOf } from "./errors.js";
import { agentNameProblem } from "./identity.js";
import { isLoopback, parseListen } from "./listen.js";
import { readTextFile } from "./text-file.js";

/** What holds where the file says nothing. Milliseconds and bytes; 45 s because most clients give up at 60. */
export const configDefaults = {
  hold: { wait: 45_000, expires: 3_600_000 },
  limits: { frame: 16 * 1024 * 1024, sessions: 1000, sessionIdle: 30 * 60_000 },
} as const;

/** Where the gateway listens unless it is told otherwise. */
export const defaultListen = { host: "127.0.0.1", port: 8100 } as const;

/**
 * Reads `aegis.yaml`, or the servers of a client's own `.json` file.
 *
 * @param options.warn told, in a sentence, of what was passed over or renamed in a client's file
 * @param options.port where this gateway will listen: an entry of a client's file that leads there is passed over
 * @throws AegisError config_invalid: `file:line:column: what is wrong`
 */
export async function loadConfig(
  file: string,
  env: NodeJS.ProcessEnv,
  options: { readonly warn?: (sentence: string) => void; readonly port?: number } = {},
): Promise<Config> {
  const path = resolve(file);
  let text: string;
  try {
    text = await readTextFile(path);
  } catch (thrown) {
    throw new AegisError("config_invalid", `${file}: ${reasonOf(thrown)}`, {
      hint: "Name an aegis.yaml, or a client's own JSON file with mcpServers or servers.",
      cause: thrown,
    });
  }
  if (/^\.jsonc?$/i.test(extname(path))) {
    const root = parseConfigText(file, plainJson(text), (raw) => substituteAsClients(raw, env));
    const ports = new Set([defaultListen.port, options.port ?? defaultListen.port]);
    return { ...emptyConfig(path), servers: readClientServers(root, ports, options.warn ?? (() => {})) };
  }
  return readConfig(
    path,
    parseConfigText(file, text, (raw) => substitute(raw, env)),
  );
}

/** A configuration that says nothing yet. */
export function emptyConfig(file: string | null): Config {
  return {
    file,
    agent: null,
    policies: null,
    servers: new Map(),
    http: null,
    hold: configDefaults.hold,
    limits: configDefaults.limits,
    methods: [],
  };
}

function readConfig(path: string, root: Section): Config {
  if (root.has("mcpServers")) {
    throw root.refuseKey(
      "mcpServers",
      "mcpServers belongs to a client's own file",
      "Give that file a name in .json.",
    );
  }
  root.only(["agent", "policies", "servers", "http", "hold", "limits", "methods"]);
  const base = dirname(path);
  const agent = root.text("agent") ?? null;
  const problem = agent === null ? null : agentNameProblem(agent);
  if (problem !== null) throw root.refuse("agent", problem);
  const hold = root.section("hold")?.only(["wait", "expires"]);
  const limits = root.section("limits")?.only(["frame", "sessions", "session_idle"]);
  return {
    file: path,
    agent,
    policies: readPath(root, "policies", base) ?? null,
    servers: readServers(root, base),
    http: readListen(root),
    hold: {
      wait: hold?.duration("wait", 0, longestTimer) ?? configDefaults.hold.wait,
      expires: hold?.duration("expires", 1000, 365 * 86_400_000) ?? configDefaults.hold.expires,
    },
    limits: {
      // Over 256 MiB a frame comes near the longest string V8 can hold (512 MiB).
      frame: limits?.bytes("frame", 1024, 256 * 1024 * 1024) ?? configDefaults.limits.frame,
      sessions: limits?.integer("sessions", 1, 1_000_000) ?? configDefaults.limits.sessions,
      sessionIdle: limits?.duration("session_idle", 1000, longestTimer) ?? configDefaults.limits.sessionIdle,
    },
    methods: readMethods(root),
  };
}

function readServers(root: Section, base: string): ReadonlyMap<string, ServerConfig> {
  const section = root.section("servers");
  if (section === undefined) throw root.refuse(null, "servers is missing: there is nothing to govern");
  const servers = new Map<string, ServerConfig>();
  for (const key of section.names()) {
    if (!isServerKey(key)) {
      const slug = slugKey(key);
      throw section.refuseKey(
        key,
        "a server's key is lower-case letters and digits, joined by single _ or -, and not sdk",
        slug === "" ? undefined : `Write ${slug}.`,
      );
    }
    const entry = section.section(key);
    if (entry !== undefined) servers.set(key, readServer(key, entry, base));
  }
  if (servers.size === 0) throw root.refuse("servers", "servers is empty: there is nothing to govern");
  return servers;
}

function readListen(root: Section): Config["http"] {
  const http = root.section("http")?.only(["listen", "auth"]);
  if (http === undefined) return null;
  const auth = http.text("auth");
  if (auth !== undefined && auth !== "token") throw http.refuse("auth", "http.auth can only be token");
  const text = http.text("listen");
  if (text === undefined) return defaultListen;
  const address = parseListen(text);
  if (address === null) throw http.refuse("listen", "http.listen must be HOST:PORT, such as 127.0.0.1:8100");
  if (!isLoopback(address.host)) {
    throw http.refuse(
      "listen",
      "http.listen leads beyond this machine, where a token would travel in the clear",
      "Listen on 127.0.0.1, and put a proxy that speaks TLS in front.",
    );
  }
  return address;
}

function readMethods(root: Section): string[] {
  const methods = root.texts("methods") ?? [];
  for (const method of methods) {
    if (!/^[A-Za-z0-9_$./-]{1,128}$/.test(method))
      throw root.refuse("methods", "methods lists names of methods");
    // A call is decided by policy; passing its method by name would be a way around it.
    if (/^tools\//i.test(method))
      throw root.refuse("methods", `${method} is governed by policy and cannot be listed`);
  }
  return methods;
}

/**
 * JSON as clients write it, for the YAML parser: comments (VS Code) become spaces, tabs that indent too, so that lines
 * and columns stay where they were.
 */
function plainJson(text: string): string {
  return text.replace(/"(?:[^"\\\n]|\\.)*"|\/\/[^\n]*|\/\*[\s\S]*?\*\/|\t/g, (match) =>
    match.startsWith('"') ? match : match.replace(/[^\n]/g, " "),
  );
}
