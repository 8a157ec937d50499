import { mkdir } from "node:fs/promises";
import { resolve } from "node:path";
import type { StartedThread } from "../backend/thread/threaded.js";
import type { Backend } from "../client/backend.js";
import type { Config } from "../config.js";
import { AegisError } from "../errors.js";
import { type Gateway, startGateway } from "../gateway/gateway.js";
import { agentNameProblem, defaultAgent } from "../identity.js";
import { isLoopback } from "../listen.js";
import { createLogger, type Logger } from "../log.js";
import { loadPolicies } from "../policy/load.js";
import { requireEmbedded } from "./backend-choice.js";
import { checkBoundary } from "./boundary.js";
import type { Context } from "./context.js";
import { gatewayToken } from "./gateway-token.js";
import { defaultPolicies } from "./home.js";
import { policyFileFor, writeStarter } from "./starter-file.js";

/** What `wrap` and `gateway` have in common, once their command lines are read. */
export interface Plan {
  readonly config: Config;
  /** `bare`: one server is governed and its tools keep their names. */
  readonly naming: "bare" | "prefixed";
  /** Where to listen; null speaks stdio. */
  readonly http: { readonly host: string; readonly port: number } | null;
  readonly flags: {
    readonly agent?: string;
    readonly backend?: string;
    readonly policies?: string;
    readonly allowHome?: boolean;
  };
}

/**
 * Milliseconds until the process ends whatever still hangs: what started us waits 2 s (MCP lifecycle), and the
 * children's groups are killed on exit.
 */
const patience = 1900;

/** Runs a gateway until its client leaves, its wrapped server is gone, or a signal ends it. Does not return. */
export async function serve(context: Context, plan: Plan, thread: StartedThread): Promise<never> {
  const { home, out } = context;
  const { config, flags } = plan;
  const log = createLogger();
  const running = new Running(log);
  await requireEmbedded(flags.backend, context.env, home);
  const agent = flags.agent ?? (context.env.AEGIS_AGENT || null) ?? config.agent ?? defaultAgent;
  const problem = agentNameProblem(agent);
  if (problem !== null)
    throw new AegisError("usage", `${problem}.`, { hint: "See --agent and AEGIS_AGENT." });
  if (plan.http !== null && !isLoopback(plan.http.host)) {
    throw new AegisError(
      "usage",
      `--http ${plan.http.host} leads beyond this machine, where a token would travel in the clear.`,
      {
        hint: "Listen on 127.0.0.1; from another machine, reach it through an SSH tunnel.",
      },
    );
  }

  const folder = resolve(flags.policies ?? config.policies ?? defaultPolicies(home));
  const policies = await loadPolicies(folder, { bareNames: plan.naming === "bare" });
  await mkdir(home, { recursive: true, mode: 0o700 });
  const findings = checkBoundary(config, { home, policies: folder, allowHome: flags.allowHome === true });
  for (const finding of findings) out.warn(finding.message);

  const backend = await thread.open({ home, policies, holdExpires: config.hold.expires }, log, (reason) => {
    // Nothing can be decided any more: end, so that whoever started us starts us again.
    log.fatal({ reason }, "the embedded backend ended");
    running.end(1).catch(() => process.exit(1));
  });
  running.backend = backend;
  try {
    for (const { severity, server, message } of findings) {
      if (severity === "allowed")
        await backend.note({ kind: "gateway", agent, server, reason: `--allow-home: ${message}` });
    }
    if (plan.http !== null) {
      out.say(`aegis: the token for ${agent} is in ${await gatewayToken(backend, home, agent)}`);
    }
    const file = policyFileFor(folder, agent, policies);
    const gateway = await startGateway({
      backend,
      config,
      agent,
      principal: `agent:${agent}`,
      naming: plan.naming,
      log,
      front:
        plan.http === null
          ? { kind: "stdio", input: process.stdin, output: process.stdout }
          : { kind: "http", ...plan.http },
      protectedPaths:
        flags.allowHome === true ? [] : [home, folder, ...(config.file === null ? [] : [config.file])],
      howToAllow: (caller, action) =>
        `To allow it for good, a person adds "- ${action}" below "allow:" in ` +
        `${policyFileFor(folder, caller, policies)} and starts the gateway again.`,
      ...(policies.files.length > 0
        ? {}
        : {
            onTools: (servers) =>
              writeStarter(file, agent, servers, (sentence) => out.say(`aegis: ${sentence}`)),
          }),
    });
    running.gateway = gateway;
    if (gateway.url !== null) out.say(`aegis: listening on ${gateway.url}`);
    return await running.end(await gateway.ended);
  } catch (thrown) {
    await running.release();
    // An open stdin would keep the process when all it does is over.
    setTimeout(() => process.exit(1), 500).unref();
    throw thrown;
  }
}

/** What has to be given back when the process ends, by whichever way. */
class Running {
  backend: Backend | null = null;
  gateway: Gateway | null = null;
  private ending = false;

  constructor(private readonly log: Logger) {
    const onSignal = (): void => {
      if (this.ending) process.exit(130);
      this.end(0).catch((thrown: unknown) => {
        this.log.error(thrown);
        process.exit(1);
      });
    };
    process.on("SIGINT", onSignal).on("SIGTERM", onSignal).on("SIGHUP", onSignal);
  }

  /** Ends children first, then writes what the ledger still has to hold, then the process. */
  async end(code: number): Promise<never> {
    // The first way to end decides the exit code: stopping ends stdin too.
    if (this.ending) return new Promise<never>(() => {});
    this.ending = true;
    setTimeout(() => process.exit(code), patience);
    await this.release();
    process.exit(code);
  }

  async release(): Promise<void> {
    await this.gateway?.stop();
    await this.backend?.close();
  }
}
