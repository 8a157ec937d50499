import { existsSync, statSync } from "node:fs";
import type { Config } from "../config.js";
import { loadConfig } from "../config-file.js";
import { AegisError, reasonOf } from "../errors.js";
import { createLogger } from "../log.js";
import type { PolicySet } from "../policy/policy.js";
import { visible } from "../visible.js";
import { chooseBackend, type RemoteChoice, withAdminToken } from "./backend-choice.js";
import { checkBoundary } from "./boundary.js";
import { type CommonOptions, type Context, withBackend } from "./context.js";
import { lookAtBackend } from "./doctor-backend.js";
import { knowsOthers, lookAtApprovers, lookAtHomeConfig } from "./doctor-home.js";
import { defaultPolicies } from "./home.js";
import { styleOf } from "./output.js";

interface Options extends CommonOptions {
  readonly config?: string;
  readonly policies?: string;
}

/** One thing that was looked at. Only `broken` makes the command fail. */
export interface Check {
  readonly name: string;
  readonly state: "ok" | "note" | "warning" | "broken";
  readonly message: string;
}

const boundaryOfHome =
  "The boundary of a backend in AEGIS_HOME is the operating-system user. A client and the tools it calls are kept from " +
  "deciding, from policies and from the ledger; a program that runs as this user outside of a gateway is not: it can " +
  "read and change AEGIS_HOME. The strong form is a backend under another user or on another machine.";

const boundaryElsewhere =
  "Who decides is somewhere else: a program on this machine reaches it with a token only, and the token of a gateway can " +
  "neither approve nor change policies. A token of role approver or admin in an environment or a file that a server can " +
  "read undoes that.";

/** `aegis doctor`: 1 where something is broken. */
export async function run(context: Context, options: Options): Promise<number> {
  const { out } = context;
  const checks: Check[] = [];
  const add = (name: string, state: Check["state"], message: string): void => {
    checks.push({ name, state, message });
  };
  /** A look that fails is a finding like any other: the rest is still looked at. */
  const look = async (name: string, see: () => Promise<void>): Promise<void> => {
    try {
      await see();
    } catch (thrown) {
      const hint = thrown instanceof AegisError && thrown.hint !== undefined ? `\n${thrown.hint}` : "";
      add(name, "broken", `${reasonOf(thrown)}${hint}`);
    }
  };

  add(
    "node",
    nodeIsNew(process.versions.node) ? "ok" : "broken",
    `Node ${process.versions.node} (20.19 or newer is needed)`,
  );
  await look("sqlite", async () => {
    const { loadDriver } = await import("../backend/store/driver.js");
    const driver = await loadDriver();
    const connection = driver.open(":memory:");
    const row = connection.prepare("SELECT sqlite_version() AS version").get() as { version: string };
    connection.close();
    add("sqlite", "ok", `SQLite ${row.version} of ${driver.name}`);
  });
  const exists = existsSync(context.home);
  add(
    "home",
    exists ? "ok" : "note",
    `AEGIS_HOME ${context.home}${exists ? modeOf(context.home) : " is made by the first start"}`,
  );
  let config: Config | null = null;
  const { config: file } = options;
  if (file !== undefined) {
    await look("config", async () => {
      config = await loadConfig(file, context.env, {
        warn: (sentence) => add("config", "warning", sentence),
      });
      add("config", "ok", `${file}: ${[...config.servers.keys()].join(", ")}`);
    });
  }
  let choice: RemoteChoice | null = null;
  let set: PolicySet | null = null;
  await look("backend", async () => {
    choice = await chooseBackend(options.backend, context.env, context.home);
  });
  await look("config", () => lookAtHomeConfig(context.home, context.env, choice, add));
  const undecided = checks.some(({ name, state }) => name === "backend" && state === "broken");
  const folder = options.policies ?? policiesOf(config) ?? defaultPolicies(context.home);
  const policies = choice === null ? folder : null;
  if (policies === null) add("policies", "note", "the backend has its own; none is read here");
  else
    await look("policies", async () => {
      set = await lookAtPolicies(policies, config === null, add);
    });
  if (config !== null) {
    const found: Config = config;
    await look("reach", async () => {
      const findings = checkBoundary(found, { home: context.home, policies, allowHome: false });
      for (const { message } of findings) add("reach", "warning", message);
      if (findings.length === 0)
        add("reach", "ok", "no server is given a path to AEGIS_HOME, configuration or policies");
    });
  }
  if (config !== null) {
    const { probeServers } = await import("../gateway/probe.js");
    for (const probe of await probeServers(config, createLogger("silent"))) {
      if (probe.ok)
        add(
          "server",
          "ok",
          `${probe.server}: ${probe.name}, ${probe.tools} tools, ready in ${probe.took} ms`,
        );
      else add("server", "broken", probe.reason);
    }
  }
  if (!undecided) {
    await look("backend", async () => {
      if (choice === null && !exists)
        add("backend", "note", "embedded; its store is made by the first start");
      else
        await withBackend(context, options, async (session) => {
          await lookAtBackend(session, choice, add);
          if (session.kind !== "embedded" || set === null) return;
          await lookAtApprovers(session.backend, set, await knowsOthers(context.home, context.env), add);
        });
    });
  }
  const apart = choice !== null && (await withAdminToken(choice, context.home)) === choice;
  add("boundary", "note", apart ? boundaryElsewhere : boundaryOfHome);

  const broken = checks.some((check) => check.state === "broken");
  if (out.json) {
    out.document({ ok: !broken, checks });
  } else {
    for (const { name, state, message } of checks) {
      const [first = "", ...rest] = message.split("\n").map(visible);
      out.line(`${out.style(styleOf(state), state.padEnd(8))} ${name.padEnd(9)} ${first}`);
      for (const line of rest) out.line(`${" ".repeat(19)}${line}`);
    }
  }
  return broken ? 1 : 0;
}

async function lookAtPolicies(
  folder: string,
  bareNames: boolean,
  add: (name: string, state: Check["state"], message: string) => void,
): Promise<PolicySet> {
  const { loadPolicies } = await import("../policy/file/load.js");
  // Without a configuration it is not known whether one server is governed or many: names alone are read too.
  const set = await loadPolicies(folder, { bareNames });
  const { files, revision } = set;
  if (files.length === 0) add("policies", "note", `${folder} holds no policy: a person decides every call`);
  else add("policies", "ok", `${folder}: ${files.length} loaded, revision ${revision.slice(0, 12)}`);
  const { lookAt, remedyOfInsecurity } = await import("./policy/folder.js");
  const { problems } = await lookAt(folder);
  if (problems.length > 0)
    add(
      "policies",
      "warning",
      ["changes will be refused as long as this is so:", ...problems, remedyOfInsecurity].join("\n"),
    );
  return set;
}

function policiesOf(config: Config | null): string | null {
  return config?.policies ?? null;
}

function nodeIsNew(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 20 || (major === 20 && minor >= 19);
}

function modeOf(path: string): string {
  return process.platform === "win32" ? "" : `, mode ${(statSync(path).mode & 0o777).toString(8)}`;
}
