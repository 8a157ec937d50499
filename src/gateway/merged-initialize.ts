import { reasonOf } from "../errors.js";
import { isObject } from "../frame/parse.js";
import type { Json } from "../frame/types.js";
import { version } from "../version.js";
import { legacyRevisions } from "./methods.js";
import { resultFrame } from "./reply.js";
import type { ClientRequest } from "./request.js";
import type { Scope } from "./scope.js";
import type { ServerLink } from "./servers/link.js";

/**
 * Answers `initialize` for many servers at once: each is started in the client's words, and the answer claims what
 * some of them can, never more. One that does not come up in its own time is left out; the rest do not wait longer.
 */
export async function initializeMerged(scope: Scope, request: ClientRequest): Promise<void> {
  const links = [...scope.links.values()];
  await Promise.all(
    links.map((link) =>
      link.initialize(request.frame).catch((thrown: unknown) => {
        scope.services.log.warn({ server: link.key }, `not available: ${reasonOf(thrown)}`);
      }),
    ),
  );
  const wanted = request.frame.params.protocolVersion;
  const [latest = ""] = legacyRevisions;
  scope.protocolVersion = typeof wanted === "string" && legacyRevisions.includes(wanted) ? wanted : latest;
  const up = links.filter((link) => link.isUp);
  const instructions = up.flatMap((link) => {
    const own = link.initialized?.instructions;
    return typeof own === "string" && own !== "" ? [`# ${link.key}\n\n${own}`] : [];
  });
  const result = {
    protocolVersion: scope.protocolVersion,
    capabilities: union(up),
    serverInfo: { name: "aegis-sentinel", version },
    ...(instructions.length === 0 ? {} : { instructions: instructions.join("\n\n") }),
  };
  request.answer(resultFrame(request.key, JSON.stringify(result)));
}

/** Capabilities the merged endpoint can serve, and their flags. */
const features: ReadonlyMap<string, readonly string[]> = new Map([
  ["tools", ["listChanged"]],
  ["resources", ["listChanged", "subscribe"]],
  ["prompts", ["listChanged"]],
  ["completions", []],
  ["logging", []],
]);

function union(links: readonly ServerLink[]): Json {
  const capabilities = new Map<string, Json>();
  // A server that is late brings its tools with a list-changed.
  capabilities.set("tools", { listChanged: true });
  for (const [feature, flags] of features) {
    for (const link of links) {
      const offered = isObject(link.initialized?.capabilities)
        ? link.initialized.capabilities[feature]
        : undefined;
      if (!isObject(offered)) continue;
      const merged = capabilities.get(feature) ?? {};
      for (const flag of flags) if (offered[flag] === true) merged[flag] = true;
      if (flags.includes("listChanged")) merged.listChanged = true;
      capabilities.set(feature, merged);
    }
  }
  return Object.fromEntries(capabilities);
}
