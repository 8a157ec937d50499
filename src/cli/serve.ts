import { mkdir } from "node:fs/promises";
import type { StartedThread } from "../backend/thread/threaded.js";
import type { Backend } from "../client/backend.js";
import type { Config } from "../config.js";
import { AegisError } from "../errors.js";
import { type Gateway, startGateway } from "../gateway/gateway.js";
import { agentNameProblem, defaultAgent } from "../identity.js";
import { isLoopback } from "../listen.js";
import { createLogger, type Logger } from "../log.js";
import { chooseBackend } from "./backend-choice.js";
import { checkBoundary } from "./boundary.js";
import type { Context } from "./context.js";
import { embeddedBackend } from "./gateway-backend.js";

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
  const choice = await chooseBackend(flags.backend, context.env, home);
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

  const lost = (reason: string): void => {
    // Nothing can be decided any more: end, so that whoever started us starts us again.
    log.fatal({ reason }, "the embedded backend ended");
    running.end(1).catch(() => process.exit(1));
  };
  if (choice !== null) await thread.discard();
  const { policies, open } =
    choice === null
      ? await embeddedBackend(context, plan, agent, thread, log, lost)
      : // Not at the top: the embedded backend starts without what HTTP needs.
        (await import("./gateway-remote.js")).remoteBackend(context, plan, choice, agent, log);
  await mkdir(home, { recursive: true, mode: 0o700 });
  const findings = checkBoundary(config, { home, policies, allowHome: flags.allowHome === true });
  for (const finding of findings) out.warn(finding.message);

  try {
    const { backend, identity, credentials, howToAllow, onTools, watch } = await open();
    running.backend = backend;
    for (const { severity, server, message } of findings) {
      if (severity === "allowed")
        await backend.note({ kind: "gateway", agent, server, reason: `--allow-home: ${message}` });
    }
    if (plan.http !== null) out.say(`aegis: ${await credentials()}`);
    const gateway = await startGateway({
      backend,
      config,
      identity,
      naming: plan.naming,
      log,
      front:
        plan.http === null
          ? { kind: "stdio", input: process.stdin, output: process.stdout }
          : { kind: "http", ...plan.http },
      protectedPaths: flags.allowHome === true ? [] : protectedBy(home, policies, config),
      howToAllow,
      ...(onTools === undefined ? {} : { onTools }),
    });
    running.gateway = gateway;
    if (gateway.url !== null) out.say(`aegis: listening on ${gateway.url}`);
    running.watch = (await watch?.()) ?? null;
    return await running.end(await gateway.ended);
  } catch (thrown) {
    await running.release();
    // An open stdin would keep the process when all it does is over.
    setTimeout(() => process.exit(1), 500).unref();
    throw thrown;
  }
}

function protectedBy(home: string, policies: string | null, { file }: Config): string[] {
  return [home, policies, file].filter((path) => path !== null);
}

/** What has to be given back when the process ends, by whichever way. */
class Running {
  backend: Backend | null = null;
  gateway: Gateway | null = null;
  watch: { close(): Promise<void> } | null = null;
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
    await this.watch?.close();
    await this.backend?.close();
  }
}
