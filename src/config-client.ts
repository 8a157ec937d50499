import { resolve } from "node:path";
import type { ServerConfig } from "./config.js";
import { isServerKey, readHttp, readStdio, serverDefaults, slugKey } from "./config-servers.js";
import type { Section } from "./config-yaml.js";
import { isLoopback } from "./listen.js";
import { visible } from "./visible.js";

/**
 * The servers of a client's own file: `mcpServers` (Claude Desktop, Claude Code, Cursor) or `servers` (VS Code).
 * Everything else in the file is the client's. An entry that leads to this gateway is passed over: it would make the
 * gateway its own server.
 *
 * @throws AegisError config_invalid
 */
export function readClientServers(
  root: Section,
  ports: ReadonlySet<number>,
  warn: (sentence: string) => void,
): ReadonlyMap<string, ServerConfig> {
  const name = root.has("mcpServers") ? "mcpServers" : "servers";
  const section = root.section(name);
  if (section === undefined) {
    throw root.refuse(null, "the file has neither mcpServers nor servers", "Is it a client's configuration?");
  }
  const servers = new Map<string, ServerConfig>();
  const names = new Map<string, string>();
  for (const given of section.names()) {
    const entry = section.section(given);
    if (entry === undefined) continue;
    const reason = passedOver(entry, ports);
    if (reason !== null) {
      warn(`the entry "${visible(given)}" is passed over: ${reason}`);
      continue;
    }
    const key = legalKey(section, given, warn);
    const other = names.get(key);
    if (other !== undefined) {
      // A suffix would depend on the order of the file, and rules for one server could come to mean the other.
      throw section.refuseKey(
        given,
        `"${visible(given)}" and "${visible(other)}" would both be the server ${key}`,
      );
    }
    names.set(key, given);
    servers.set(key, readEntry(key, entry));
  }
  if (servers.size === 0) throw root.refuse(name, `${name} holds no server that could be governed`);
  return servers;
}

function legalKey(section: Section, given: string, warn: (sentence: string) => void): string {
  if (isServerKey(given)) return given;
  const key = slugKey(given);
  if (key === "")
    throw section.refuseKey(given, `the name "${visible(given)}" has no letter or digit for a key`);
  warn(`the server "${visible(given)}" is called ${key} here: write ${key}__TOOL in policies`);
  return key;
}

function readEntry(key: string, entry: Section): ServerConfig {
  if (entry.has("url") && !entry.has("command")) return { key, ...serverDefaults, ...readHttp(entry) };
  if (!entry.has("command")) throw entry.refuse(null, `${entry.path} has neither command nor url`);
  const cwd = entry.text("cwd");
  return { key, ...serverDefaults, kind: "stdio", ...readStdio(entry), cwd: cwd ? resolve(cwd) : undefined };
}

function passedOver(entry: Section, ports: ReadonlySet<number>): string | null {
  if (entry.has("disabled") && entry.text("disabled") === "true") return "it is disabled";
  if (entry.has("command")) {
    const words = [entry.text("command") ?? "", ...(entry.has("args") ? (entry.texts("args") ?? []) : [])];
    return startsAegis(words) ? "it starts aegis itself" : null;
  }
  if (entry.has("type") && entry.text("type") === "sse") {
    return "it speaks the old HTTP+SSE transport, which this version does not";
  }
  const url = entry.has("url") ? (entry.text("url") ?? "") : "";
  if (!URL.canParse(url)) return null;
  const { hostname, port, pathname } = new URL(url);
  const ours = isLoopback(hostname) && ports.has(Number(port)) && /^\/mcp(\/|$)/.test(pathname);
  return ours ? "it leads to this gateway" : null;
}

/** `aegis`, `sentinel`, `npx aegis-sentinel`, `node …/cli/main.js`, each with `gateway` or `wrap` behind it. */
function startsAegis(words: readonly string[]): boolean {
  const program = words.findIndex((word) =>
    /(^|[/\\])(aegis|sentinel|aegis-sentinel)(@[^/\\]*)?(\.cmd|\.exe|\.ps1)?$|[/\\]cli[/\\]main\.js$/i.test(
      word,
    ),
  );
  return program >= 0 && words.slice(program + 1).some((word) => word === "gateway" || word === "wrap");
}
