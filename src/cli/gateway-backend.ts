import { resolve } from "node:path";
import type { StartedThread } from "../backend/thread/threaded.js";
import type { Backend } from "../client/backend.js";
import type { OfferedTools } from "../gateway/gateway.js";
import type { Identity } from "../gateway/scope.js";
import type { Logger } from "../log.js";
import { loadPolicies } from "../policy/load.js";
import type { Context } from "./context.js";
import { gatewayToken } from "./gateway-token.js";
import { defaultPolicies } from "./home.js";
import type { Plan } from "./serve.js";
import { policyFileFor, writeStarter } from "./starter-file.js";

/** The backend of a gateway that is to start, and what depends on which one it is. */
export interface GatewayBackend {
  /** The policies folder, which no server may reach; null where the backend has its own policies. */
  readonly policies: string | null;
  readonly open: () => Promise<OpenedBackend>;
}

export interface OpenedBackend {
  readonly backend: Backend;
  readonly identity: Identity;
  /** For people, where the gateway speaks HTTP: with what its clients prove who they are. */
  readonly credentials: () => Promise<string>;
  readonly howToAllow: (agent: string, action: string) => string;
  readonly onTools?: (servers: OfferedTools) => Promise<void>;
}

/** The backend in AEGIS_HOME, in its thread. @throws AegisError policy_invalid */
export async function embeddedBackend(
  { home, out }: Context,
  { config, naming, flags }: Plan,
  agent: string,
  thread: StartedThread,
  log: Logger,
  lost: (reason: string) => void,
): Promise<GatewayBackend> {
  const folder = resolve(flags.policies ?? config.policies ?? defaultPolicies(home));
  const policies = await loadPolicies(folder, { bareNames: naming === "bare" });
  const open = async (): Promise<OpenedBackend> => {
    const backend = await thread.open({ home, policies, holdExpires: config.hold.expires }, log, lost);
    const starter = (servers: OfferedTools): Promise<void> =>
      writeStarter(policyFileFor(folder, agent, policies), agent, servers, (sentence) =>
        out.say(`aegis: ${sentence}`),
      );
    return {
      backend,
      identity: { agent, principal: `agent:${agent}` },
      credentials: async () => `the token for ${agent} is in ${await gatewayToken(backend, home, agent)}`,
      howToAllow: (caller, action) =>
        `To allow it for good, a person adds "- ${action}" below "allow:" in ` +
        `${policyFileFor(folder, caller, policies)} and starts the gateway again.`,
      ...(policies.files.length > 0 ? {} : { onTools: starter }),
    };
  };
  return { policies: folder, open };
}
