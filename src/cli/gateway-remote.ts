import { LateBackend } from "../client/late.js";
import { openRemote, type Remote } from "../client/remote.js";
import { AegisError } from "../errors.js";
import type { Logger } from "../log.js";
import { clearTextWarning, type RemoteChoice } from "./backend-choice.js";
import type { Context } from "./context.js";
import type { GatewayBackend, OpenedBackend } from "./gateway-backend.js";
import type { Plan } from "./serve.js";

/**
 * A backend somewhere else. It decides by its own policies, and who its token stands for is the agent.
 *
 * @throws AegisError usage
 */
export function remoteBackend(
  { out, env }: Context,
  { config, http, flags }: Plan,
  choice: RemoteChoice,
  agent: string,
  log: Logger,
): GatewayBackend {
  const { where, address } = choice;
  if (flags.policies !== undefined) {
    throw new AegisError(
      "usage",
      `--policies is of no use here: ${where} names a backend, which has its own.`,
      {
        hint: `Put them in force there: aegis backend --policies ${flags.policies}`,
      },
    );
  }
  if (config.policies !== null)
    out.warn(`${config.policies} is not read: ${where} names a backend, which has its own policies.`);
  const warning = clearTextWarning(choice);
  if (warning !== null) out.warn(warning);
  const named = flags.agent ?? (env.AEGIS_AGENT || null) ?? config.agent;

  const identity = { agent, principal: `agent:${agent}` };
  const found = ({ principal }: Remote): void => {
    if (principal === null || principal.agent === null) return;
    if (named !== null && named !== principal.agent)
      out.warn(`the agent is ${principal.agent}, for whom the token speaks, and not ${named}.`);
    identity.agent = principal.agent;
    identity.principal = principal.name;
  };
  const open = async (): Promise<OpenedBackend> => {
    const backend = await LateBackend.open({
      shown: address.shown,
      open: async () =>
        usable(await openRemote(address, { holdExpires: config.hold.expires, log }), http !== null),
      found,
      log,
    });
    if (backend.absence !== null)
      out.warn(`${backend.absence} Every call is refused until it is there; it is looked for all the time.`);
    return {
      backend,
      identity,
      credentials: async () => `clients use tokens of ${backend.description}, of role agent`,
      howToAllow: (caller, action) =>
        `To allow ${action} for good, an admin of the backend at ${address.shown} changes the policy of ${caller} there.`,
    };
  };
  return { policies: null, open };
}

/** @throws AegisError where a gateway cannot work with it; it is closed then */
async function usable(remote: Remote, http: boolean): Promise<Remote> {
  const problem = problemOf(remote, http);
  if (problem === null) return remote;
  await remote.backend.close();
  throw problem;
}

function problemOf({ kind, principal }: Remote, http: boolean): AegisError | null {
  if (kind === "original") {
    if (!http) return null;
    return new AegisError(
      "backend_unsupported",
      "The original Aegis backend knows no tokens, so that clients over HTTP could not be told apart.",
      { hint: "Speak stdio with it, or use an `aegis backend`." },
    );
  }
  if (principal.role !== "agent") {
    return new AegisError(
      "not_permitted",
      `The token of ${principal.name} has the role ${principal.role}, and a gateway needs one of role agent: whoever can run tools must not decide.`,
      { hint: "An admin of that backend makes one: aegis token create --role agent --name NAME" },
    );
  }
  if (!http || principal.agent === null) return null;
  return new AegisError(
    "not_permitted",
    `The token of ${principal.name} speaks for the agent ${principal.agent} only, and a gateway over HTTP serves many.`,
    {
      hint: "An admin of that backend makes one that names no agent: aegis token create --role agent --name NAME",
    },
  );
}
