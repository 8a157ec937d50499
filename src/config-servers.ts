import { isAbsolute, resolve } from "node:path";
import type { HttpServer, ServerConfig, StdioServer } from "./config.js";
import type { Section } from "./config-yaml.js";
import { longestTimer } from "./duration.js";
import { sdkServer } from "./names.js";

/** What a server gets where its entry says nothing. Milliseconds; a call may take long, and progress starts its time anew. */
export const serverDefaults = { timeout: 600_000, startTimeout: 15_000, concurrency: 64 } as const;

const serverKey = /^[a-z0-9]+([_-][a-z0-9]+)*$/;

/**
 * May stand before `__` in an action: it holds no `__` itself, so no two pairs of server and tool read alike, and it is
 * not the name under which policies speak of the functions of SDK agents (threat P15).
 */
export function isServerKey(key: string): boolean {
  return key.length <= 64 && serverKey.test(key) && key !== sdkServer;
}

/** The nearest legal key: `My Server` → `my-server`. Empty where nothing of it is legal. */
export function slugKey(name: string): string {
  const slug = name
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-")
    .replace(/[_-]{2,}/g, "-")
    .slice(0, 64);
  const key = slug.replace(/^[_-]+|[_-]+$/g, "");
  return key === sdkServer ? `${key}-server` : key;
}

const common = ["timeout", "start_timeout", "concurrency"];

/** Reads one entry of `servers` in `aegis.yaml`. `base` is the folder of the file. @throws AegisError config_invalid */
export function readServer(key: string, entry: Section, base: string): ServerConfig {
  const http = entry.has("url") && !entry.has("command");
  entry.only([...(http ? ["url", "headers"] : ["command", "args", "env", "cwd", "url"]), ...common]);
  if (entry.has("command") === entry.has("url")) {
    throw entry.refuse(
      null,
      `${entry.path} needs either command (started here) or url (spoken to over HTTP)`,
    );
  }
  const settings = {
    key,
    timeout: entry.duration("timeout", 1, longestTimer) ?? serverDefaults.timeout,
    startTimeout: entry.duration("start_timeout", 1, longestTimer) ?? serverDefaults.startTimeout,
    concurrency: entry.integer("concurrency", 1, 10_000) ?? serverDefaults.concurrency,
  };
  if (http) return { ...settings, ...readHttp(entry) };
  const absolute = (text: string): string => (/^\.{1,2}($|[/\\])/.test(text) ? resolve(base, text) : text);
  const { command, args, env } = readStdio(entry);
  return {
    ...settings,
    kind: "stdio",
    command: absolute(command),
    args: args.map(absolute),
    env,
    cwd: readPath(entry, "cwd", base),
  };
}

/** `command`, `args` and `env` as they are written. */
export function readStdio(entry: Section): Pick<StdioServer, "command" | "args" | "env"> {
  const command = entry.text("command") ?? "";
  if (command === "") throw entry.refuse("command", `${entry.path}.command has no value`);
  const args = entry.texts("args") ?? [];
  const env = new Map<string, string>();
  const section = entry.section("env");
  for (const name of section?.names() ?? []) {
    if (name === "" || /[=\0]/.test(name)) throw section?.refuseKey(name, "this cannot be a variable's name");
    env.set(name, section?.text(name) ?? "");
  }
  // A NUL would cut the text short on its way to the operating system: what runs is not what is written.
  if ([command, ...args, ...env.values()].some((text) => text.includes("\0"))) {
    throw entry.refuse(null, `${entry.path} holds a NUL character`);
  }
  return { command, args, env };
}

/** A path of the file's: absolute, or against the folder of the file. */
export function readPath(section: Section, name: string, base: string): string | undefined {
  const text = section.text(name);
  if (text === undefined) return undefined;
  if (text === "" || text.includes("\0")) throw section.refuse(name, `${name} must be a path`);
  if (/^~($|[/\\])/.test(text))
    throw section.refuse(name, "~ is not expanded here", `Write \${HOME}${text.slice(1)}.`);
  return isAbsolute(text) ? text : resolve(base, text);
}

/** Set by the gateway on every request; a configured one would break the protocol or split the request. */
const ownHeaders = new Set([
  "accept",
  "connection",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "last-event-id",
  "mcp-protocol-version",
  "mcp-session-id",
  "te",
  "transfer-encoding",
  "upgrade",
]);

/** `url` and `headers`; a secret in the URL's userinfo becomes the Authorization header. */
export function readHttp(entry: Section): HttpServer {
  const text = entry.text("url") ?? "";
  // The text itself stays out of every message: it may hold a secret.
  if (!URL.canParse(text)) throw entry.refuse("url", `${entry.path}.url is not a URL`);
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw entry.refuse("url", `${entry.path}.url must begin with http:// or https://`);
  }
  const headers = new Map<string, string>();
  const section = entry.section("headers");
  for (const name of section?.names() ?? []) {
    const value = section?.text(name) ?? "";
    const lower = name.toLowerCase();
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name))
      throw section?.refuseKey(name, "this cannot be a header's name");
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      throw section?.refuse(name, `the header ${name} holds characters that HTTP does not allow`);
    }
    if (ownHeaders.has(lower))
      throw section?.refuseKey(name, `the header ${name} is set by the gateway itself`);
    if (headers.has(lower)) throw section?.refuseKey(name, `the header ${name} is there twice`);
    headers.set(lower, value);
  }
  if (url.username !== "" || url.password !== "") {
    if (headers.has("authorization")) {
      throw entry.refuse("url", `${entry.path} has both a user in its url and an Authorization header`);
    }
    headers.set("authorization", basicAuthorization(entry, url));
  }
  url.username = "";
  url.password = "";
  url.hash = "";
  return { kind: "http", url, headers };
}

/** RFC 7617, UTF-8. */
function basicAuthorization(entry: Section, url: URL): string {
  try {
    const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    return `Basic ${Buffer.from(pair, "utf8").toString("base64")}`;
  } catch (thrown) {
    const refusal = entry.refuse("url", `the user in ${entry.path}.url is not percent-encoded as it must be`);
    refusal.cause = thrown;
    throw refusal;
  }
}
