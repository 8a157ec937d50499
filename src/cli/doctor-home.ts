import { accessSync, constants, statSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import type { Backend } from "../client/backend.js";
import { readHomeConfig } from "../config-home.js";
import { readNotify } from "../config-notify.js";
import type { PolicySet } from "../policy/policy.js";
import type { RemoteChoice } from "./backend-choice.js";
import type { Check } from "./doctor.js";
import { person } from "./person.js";

type Add = (name: string, state: Check["state"], message: string) => void;

const reuse =
  "compat.reuse_approvals is on: whoever asks /sdk/find-approval gets the newest approval of an agent and an action, " +
  "whatever the arguments were. One approval then lets every later call of that action through that an SDK makes by itself. " +
  "Leave it off unless an old SDK needs it; calls through a gateway are bound to their arguments either way.";

/**
 * What AEGIS_HOME/config.yaml says that somebody may not expect.
 *
 * @throws AegisError config_invalid, where it could not be used
 */
export async function lookAtHomeConfig(
  home: string,
  env: NodeJS.ProcessEnv,
  choice: RemoteChoice | null,
  add: Add,
): Promise<void> {
  const config = await readHomeConfig(home, env);
  if (config === null) return;
  if (config.settings.section("compat")?.text("reuse_approvals") === "true") add("compat", "warning", reuse);
  const notify = readNotify(config.settings);
  if (notify === null) return;
  const { webhook, slack, command } = notify;
  const told = [
    ...(webhook === null ? [] : [`webhook ${new URL(webhook.url).origin}`]),
    ...(slack === null ? [] : [`slack ${new URL(slack.url).origin}`]),
    ...(command === null ? [] : [`command ${command[0] ?? ""}`]),
  ];
  if (choice === null) add("notify", "ok", `of new approvals are told: ${told.join(", ")}`);
  else {
    add(
      "notify",
      "warning",
      "whoever opens an approval tells of it, and that is the backend elsewhere: `notify:` here is for `aegis backend` " +
        "and for gateways of the embedded backend in this AEGIS_HOME",
    );
  }
  const [program = ""] = command ?? [];
  if (command !== null && !canRun(program, env))
    add(
      "notify",
      "warning",
      `the program of notify.command, ${program}, is not to be found or may not be run`,
    );
}

/**
 * Rules that ask for people nobody is: each call they hold ends undecided.
 *
 * @param others people whom nobody here knows by name may sign in too: an OIDC issuer vouches for them
 */
export async function lookAtApprovers(
  backend: Backend,
  policies: PolicySet,
  others: boolean,
  add: Add,
): Promise<void> {
  const { checkPolicies } = await import("../policy/trial/check.js");
  const now = Date.now();
  const holders = (await backend.tokens()).filter(
    ({ role, revokedAt, expiresAt }) =>
      (role === "approver" || role === "admin") &&
      revokedAt === null &&
      (expiresAt === null || Date.parse(expiresAt) > now),
  );
  const approvers = [person(), ...holders].map(({ name, groups }) => ({ name, groups }));
  for (const { level, file, line, message } of checkPolicies(policies, others ? {} : { approvers }))
    add("policies", level === "error" ? "broken" : "warning", `${file}:${line}: ${message}`);
}

/** Whether an OIDC issuer vouches for people here. */
export async function knowsOthers(home: string, env: NodeJS.ProcessEnv): Promise<boolean> {
  return (await readHomeConfig(home, env))?.settings.has("oidc") ?? false;
}

function canRun(program: string, env: NodeJS.ProcessEnv): boolean {
  const named = isAbsolute(program) || program.includes("/") || program.includes("\\");
  const folders = named ? [""] : (env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  const endings = process.platform === "win32" ? ["", ".exe", ".cmd", ".bat"] : [""];
  return folders.some((folder) =>
    endings.some((ending) => {
      const path = (folder === "" ? program : join(folder, program)) + ending;
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    }),
  );
}
