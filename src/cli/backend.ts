import { type App, buildApp } from "../backend/http/app.js";
import { hostsOf } from "../backend/http/hosts.js";
import { listen, requireSafeAddress, stop } from "../backend/http/listen.js";
import { routes } from "../backend/http/routes.js";
import { defaultSettings, readSettings } from "../backend/http/settings.js";
import type { Service } from "../backend/service.js";
import type { StartedThread } from "../backend/thread/threaded.js";
import { configDefaults } from "../config-file.js";
import { readHomeConfig } from "../config-home.js";
import { reasonOf } from "../errors.js";
import { isLoopback } from "../listen.js";
import { createLogger, type Logger } from "../log.js";
import { adminToken } from "./admin-token.js";
import { type BackendFlags, readPublicUrl, readStatic, readTls } from "./backend-options.js";
import type { Command, Context } from "./context.js";
import { notifyOf, pageOrigin } from "./notify.js";
import { publishPolicies } from "./policy/publish.js";
import type { PolicyWatch } from "./policy/watch.js";

/** Milliseconds until the process ends whatever still hangs. */
const patience = 1900;

/** `aegis backend`: the API over HTTP, until a signal ends it. */
export function backend(thread: StartedThread): Command<BackendFlags> {
  return { run: (context, flags) => serveBackend(context, flags, thread) };
}

async function serveBackend(context: Context, flags: BackendFlags, thread: StartedThread): Promise<never> {
  const { env, home, out } = context;
  const { host, port, database } = flags;
  const tls = await readTls(flags);
  requireSafeAddress(host, tls, flags.insecure === true);
  const publicUrl = readPublicUrl(flags);
  const pages = readStatic(flags);
  const config = await readHomeConfig(home, env);
  const settings = config === null ? defaultSettings : readSettings(config.settings);
  if (!isLoopback(host) && tls === null) {
    out.warn(
      `--insecure: whoever can listen on the way to ${host} reads every token and every argument, and can act with them.`,
    );
  }

  const log = createLogger();
  const running = new Running(log);
  const options = {
    home,
    holdExpires: configDefaults.hold.expires,
    ...(database === undefined ? {} : { database }),
    ...(await notifyOf(home, env, pageOrigin(publicUrl, flags, tls !== null))),
  };
  const service = await thread.open(options, log, (reason) => {
    // Nothing can be decided any more: end, so that whoever started us starts us again.
    log.fatal({ reason }, "the thread of the backend ended");
    running.end(1);
  });
  running.service = service;
  try {
    const policies = await publishPolicies(service, home, flags.policies, env);
    const { file, fresh } = await adminToken(service, home);
    const hosts = hostsOf(host, publicUrl, settings.origins);
    const app = await buildApp({ service, log, settings, hosts, tls, pages, routes });
    running.app = app;
    const url = await listen(app, host, port, tls);
    out.say(`aegis: ${service.description}; ${policies.said}`);
    out.say(`aegis: ${fresh ? "a new admin token is" : "the admin token is"} in ${file}`);
    out.say(`aegis: listening on ${url}${publicUrl === null ? "" : `, known as ${publicUrl.origin}`}`);
    out.say(`aegis: people decide at ${publicUrl?.origin ?? url}/approvals`);
    out.say(`aegis: the other commands reach it with AEGIS_BACKEND_URL=${publicUrl?.origin ?? url}`);
    running.watch = (await policies.watch?.(log)) ?? null;
    return await new Promise<never>(() => {});
  } catch (thrown) {
    await running.release();
    throw thrown;
  }
}

/** What has to be given back when the process ends, by whichever way. */
class Running {
  service: Service | null = null;
  app: App | null = null;
  watch: PolicyWatch | null = null;
  private ending = false;

  constructor(private readonly log: Logger) {
    const onSignal = (): void => {
      if (this.ending) process.exit(130);
      this.end(0);
    };
    process.on("SIGINT", onSignal).on("SIGTERM", onSignal).on("SIGHUP", onSignal);
  }

  /** Ends the process: nothing new first, then the streams, then what the ledger still has to hold. */
  end(code: number): void {
    if (this.ending) return;
    this.ending = true;
    setTimeout(() => process.exit(code), patience);
    this.release().then(
      () => process.exit(code),
      (thrown: unknown) => {
        this.log.error({ reason: reasonOf(thrown) }, "the backend did not end well");
        process.exit(1);
      },
    );
  }

  async release(): Promise<void> {
    if (this.app !== null) await stop(this.app);
    await this.watch?.close();
    await this.service?.close();
  }
}
