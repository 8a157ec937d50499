import { resolve } from "node:path";
import type { StartedThread } from "../backend/thread/threaded.js";
import type { Backend } from "../client/backend.js";
import type { OfferedTools } from "../gateway/gateway.js";
import type { Identity } from "../gateway/scope.js";
import type { Logger } from "../log.js";
import { loadPolicies } from "../policy/file/load.js";
import type { PolicySet } from "../policy/policy.js";
import type { Context } from "./context.js";
import { gatewayToken } from "./gateway-token.js";
import { defaultPolicies, homeOf } from "./home.js";
import { notifyOf } from "./notify.js";
import { person } from "./person.js";
import { requirePeople } from "./policy/check-requirements.js";
import { isSamePolicy, type PolicyTexts, readTexts } from "./policy/folder.js";
import { policyFileFor, writeStarter } from "./policy/starter-file.js";
import type { PolicyWatch } from "./policy/watch.js";
import type { Plan } from "./serve.js";

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
  /** Goes on taking its policies from their folder, until it is closed; left out where they are somewhere else. */
  readonly watch?: () => Promise<{ close(): Promise<void> }>;
}

/** The backend in AEGIS_HOME, in its thread. @throws AegisError policy_invalid */
export async function embeddedBackend(
  { env, home, out }: Context,
  { config, naming, flags }: Plan,
  agent: string,
  thread: StartedThread,
  log: Logger,
  lost: (reason: string) => void,
): Promise<GatewayBackend> {
  const folder = resolve(flags.policies ?? config.policies ?? defaultPolicies(home));
  const bareNames = naming === "bare";
  let policies = await loadPolicies(folder, { bareNames });
  const notify = await notifyOf(home, env, null);
  const open = async (): Promise<OpenedBackend> => {
    const backend = await thread.open(
      { home, policies, holdExpires: config.hold.expires, ...notify },
      log,
      lost,
    );
    const meetable = (set: PolicySet): Promise<void> => requirePeople(set, backend, home, env);
    try {
      await meetable(policies);
    } catch (thrown) {
      await backend.close();
      throw thrown;
    }
    const starter = (servers: OfferedTools): Promise<void> =>
      writeStarter(policyFileFor(folder, agent, policies), agent, servers, (sentence) =>
        out.say(`aegis: ${sentence}`),
      );
    const apply = async (texts: PolicyTexts): Promise<string | null> => {
      const read = readTexts(texts, folder, { bareNames });
      if (isSamePolicy(read, policies)) return null;
      await meetable(read);
      await backend.adoptPolicies(read, person());
      policies = read;
      return read.revision;
    };
    const watch = async (): Promise<PolicyWatch> => {
      // Not at the top: a gateway answers before it watches.
      const watching = await import("./policy/watch.js");
      const refused = (reason: string): Promise<void> => backend.recordRefusedPolicies(reason, person());
      return new watching.PolicyWatch({ folder, some: policies.files.length > 0, apply, refused, log });
    };
    return {
      backend,
      watch,
      identity: { agent, principal: `agent:${agent}` },
      credentials: async () => `the token for ${agent} is in ${await gatewayToken(backend, home, agent)}`,
      howToAllow: (caller, action) => {
        const command = addCommand(caller, action, folder);
        return (
          `To allow it for good, a person ${command === null ? "" : `runs \`${command}\`, or `}adds "- ${action}" ` +
          `below "allow:" in ${policyFileFor(folder, caller, policies)}. It holds as soon as the file is saved.`
        );
      },
      ...(policies.files.length > 0 ? {} : { onTools: starter }),
    };
  };
  return { policies: folder, open };
}

/** The command that allows it; null where a name is not one to be pasted into a shell. */
function addCommand(agent: string, action: string, folder: string): string | null {
  const plain = /^[\w./:@+-]+$/;
  if (!plain.test(agent) || !plain.test(action) || agent.startsWith("-") || action.startsWith("-"))
    return null;
  const command = `aegis policy add --allow --agent ${agent} --action ${action}`;
  // Whoever reads this has the usual home, whatever the client has set for the gateway.
  if (folder === defaultPolicies(homeOf({}))) return command;
  return plain.test(folder) ? `${command} --policies ${folder}` : null;
}
