import type { Backend } from "../client/backend.js";
import type { Config } from "../config.js";
import type { Logger } from "../log.js";
import type { ApprovalDesk } from "./approval-desk.js";
import type { KillSwitch } from "./kill-switch.js";

/** What every scope of one gateway shares. */
export interface Services {
  readonly backend: Backend;
  readonly config: Config;
  readonly log: Logger;
  readonly killSwitch: KillSwitch;
  readonly desk: ApprovalDesk;
  /** Id of this gateway at the backend, which may give it another one while it runs. */
  gateway: string;
  /** The sentence of a refusal that says how a person would allow the action for good; null where there is none. */
  readonly howToAllow: (agent: string, action: string) => string | null;
  /** Paths that no root of a client may reach: AEGIS_HOME, the configuration, the policies. */
  readonly protectedPaths: readonly string[];
}
