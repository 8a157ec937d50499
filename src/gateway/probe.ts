import type { Config, ServerConfig } from "../config.js";
import { reasonOf } from "../errors.js";
import { isObject, parseClientFrame } from "../frame/parse.js";
import type { Logger } from "../log.js";
import { version } from "../version.js";
import { hasCapability, listAll } from "./catalog.js";
import { legacyRevisions } from "./methods.js";
import { readOffers } from "./offered.js";
import { type LinkOwner, ServerLink } from "./servers/link.js";

/** What a server answered when it was started once to look at it. */
export type Probe =
  | {
      readonly server: string;
      readonly ok: true;
      readonly name: string;
      readonly tools: number;
      readonly took: number;
    }
  | { readonly server: string; readonly ok: false; readonly reason: string };

/** Starts each server, asks it for its tools, and ends it again; all at once, each in its own `startTimeout`. */
export function probeServers(config: Config, log: Logger): Promise<Probe[]> {
  return Promise.all([...config.servers.values()].map((server) => probe(server, config.limits.frame, log)));
}

const nobody: LinkOwner = { fromServer: () => {}, lost: () => {}, reconnected: () => {}, gaveUp: () => {} };

async function probe(server: ServerConfig, frameLimit: number, log: Logger): Promise<Probe> {
  const startedAt = performance.now();
  const link = new ServerLink(server, nobody, frameLimit, log);
  try {
    const [protocolVersion] = legacyRevisions;
    const params = { protocolVersion, capabilities: {}, clientInfo: { name: "aegis doctor", version } };
    const hello = parseClientFrame(JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params }));
    if (hello.kind !== "request") throw new Error("initialize is a request");
    await link.initialize(hello);
    const { tools } = readOffers(
      hasCapability(link, "tools") ? await listAll(link, "tools/list", "tools") : [],
    );
    const name = nameOf(link.initialized?.serverInfo);
    return {
      server: server.key,
      ok: true,
      name,
      tools: tools.size,
      took: Math.round(performance.now() - startedAt),
    };
  } catch (thrown) {
    return { server: server.key, ok: false, reason: reasonOf(thrown) };
  } finally {
    await link.close();
  }
}

/** What a server calls itself: only shown, never used. */
function nameOf(info: unknown): string {
  if (!isObject(info) || typeof info.name !== "string") return "unnamed";
  return typeof info.version === "string" ? `${info.name} ${info.version}` : info.name;
}
