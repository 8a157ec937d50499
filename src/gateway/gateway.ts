import { basename } from "node:path";
import type { Readable, Writable } from "node:stream";
import type { Backend } from "../client/backend.js";
import type { Config, ServerConfig } from "../config.js";
import { reasonOf } from "../errors.js";
import type { Logger } from "../log.js";
import { ApprovalDesk } from "./approval-desk.js";
import { HttpFront } from "./front/http.js";
import { stdioFront } from "./front/stdio.js";
import { KillSwitch } from "./kill-switch.js";
import type { CatalogTool } from "./offered.js";
import { createPipeline, type Pipeline } from "./pipeline.js";
import { type ClientPort, type Identity, Scope } from "./scope.js";
import type { Services } from "./services.js";

/** The tools of the servers, for whoever wants to write a policy about them. */
export type OfferedTools = ReadonlyArray<{
  readonly key: string;
  readonly tools: readonly CatalogTool[];
}>;

export interface GatewayOptions {
  readonly backend: Backend;
  readonly config: Config;
  /** Of the stdio front. Over HTTP it is the token's; one that names no agent is this one's. */
  readonly identity: Identity;
  readonly naming: "bare" | "prefixed";
  readonly log: Logger;
  readonly front:
    | { readonly kind: "stdio"; readonly input: Readable; readonly output: Writable }
    | { readonly kind: "http"; readonly host: string; readonly port: number };
  /** AEGIS_HOME, the configuration, the policies: no root of a client may reach them. */
  readonly protectedPaths: readonly string[];
  /** Called once, when tools were read for the first time. */
  readonly onTools?: (servers: OfferedTools) => Promise<void>;
  readonly howToAllow: (agent: string, action: string) => string | null;
}

export interface Gateway {
  /** Of the merged endpoint; null on stdio. */
  readonly url: string | null;
  /** The exit code, once stdin has ended or the wrapped server is gone for good; rejects where that could not start. */
  readonly ended: Promise<number>;
  /** Ends every scope and everything started for it; within 2 s. */
  stop(): Promise<void>;
}

/** Milliseconds for answers that are on their way when stdin ends; everything is to be gone within 2 s. */
const DRAIN = 700;

/** Puts the parts together and starts them. @throws AegisError */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { backend, config, log, front } = options;
  const label =
    config.file === null
      ? `wrap ${[...config.servers.keys()].join(", ")}`
      : `gateway ${basename(config.file)}`;
  const address = front.kind === "http" ? `${front.host}:${front.port}` : null;
  let services: Services | null = null;
  let gateway = await backend.attach({ pid: process.pid, label, address }, (id) => {
    gateway = id;
    if (services !== null) services.gateway = id;
  });
  const { killSwitch } = await KillSwitch.following(backend);
  const desk = new ApprovalDesk(backend);
  desk.open();
  const { howToAllow, protectedPaths } = options;
  services = { backend, config, log, killSwitch, desk, gateway, howToAllow, protectedPaths };
  const parts: Parts = { options, services, pipeline: createPipeline(services), toolsTold: { done: false } };
  return front.kind === "stdio"
    ? overStdio(parts, front.input, front.output)
    : overHttp(parts, front.host, front.port);
}

interface Parts {
  readonly options: GatewayOptions;
  readonly services: Services;
  readonly pipeline: Pipeline;
  readonly toolsTold: { done: boolean };
}

async function overStdio(parts: Parts, input: Readable, output: Writable): Promise<Gateway> {
  const { options, services } = parts;
  const { identity, naming, config } = options;
  const front = stdioFront(input, output, config.limits.frame, (reason) =>
    noteInBackground(services, { kind: "refused", ...identityNow(identity), reason }),
  );
  let finish: (code: number) => void = () => {};
  let fail: (thrown: unknown) => void = () => {};
  const ended = new Promise<number>((resolve, reject) => {
    finish = resolve;
    fail = reject;
  });
  const scope = await newScope(parts, { identity, naming, port: front.port }, (code) => finish(code ?? 1));
  // Ahead of the handshake, so that the server boots while we do.
  if (scope.sole !== null) {
    scope.sole.open().catch((thrown: unknown) => {
      // Where the client left while the server was starting, its end is the end, not the start that came to nothing.
      if (!scope.isEnding) fail(thrown);
    });
  }
  front
    .serve(scope)
    // A script that pipes its requests in closes stdin right behind the last: it still gets its answers.
    .then(() => scope.drain(DRAIN))
    .then(() => scope.end())
    .then((code) => finish(code ?? 0), fail);
  const stop = async (): Promise<void> => {
    await scope.end();
  };
  return { url: null, ended, stop };
}

async function overHttp(parts: Parts, host: string, port: number): Promise<Gateway> {
  const { options, services } = parts;
  const { backend, config, log } = options;
  const sole = (path: string): ServerConfig | undefined => config.servers.get(path.slice("/mcp/".length));
  const front = await HttpFront.listening({
    host,
    port,
    backend,
    config,
    log,
    isEndpoint: (path) => path === "/mcp" || (path.startsWith("/mcp/") && sole(path) !== undefined),
    newScope: (session) => {
      const { principal, path } = session;
      const agent = principal.agent ?? options.identity.agent;
      const identity = { agent, principal: principal.name };
      const only = path === "/mcp" ? undefined : sole(path);
      const servers = only === undefined ? undefined : [only];
      const naming = only === undefined ? "prefixed" : "bare";
      return newScope(parts, { identity, naming, port: session, servers });
    },
    onBadFrame: (principal, reason) => {
      const agent = principal.agent ?? options.identity.agent;
      noteInBackground(services, { kind: "refused", agent, principal: principal.name, reason });
    },
    onLoginRefused: refusedLogins(services),
  });
  const unsubscribe = backend.subscribe(async (event) => {
    if (event.kind === "token") await front.endToken(event.id);
  });
  const never = new Promise<number>(() => {});
  const stop = async (): Promise<void> => {
    unsubscribe();
    await front.close();
  };
  return { url: front.url, ended: never, stop };
}

interface ScopeFor {
  readonly identity: Identity;
  readonly naming: "bare" | "prefixed";
  readonly port: ClientPort;
  readonly servers?: readonly ServerConfig[] | undefined;
}

async function newScope(
  parts: Parts,
  wanted: ScopeFor,
  onGaveUp?: (code: number | null) => void,
): Promise<Scope> {
  const { options, services, pipeline, toolsTold } = parts;
  const { identity, naming, port } = wanted;
  await options.backend.ensureAgent(identity.agent);
  return new Scope({
    services,
    pipeline,
    identity,
    naming,
    port,
    servers: wanted.servers ?? [...options.config.servers.values()],
    onTools: async (read) => {
      if (toolsTold.done) return;
      toolsTold.done = true;
      await options.onTools?.([...read].map(([key, tools]) => ({ key, tools: [...tools.values()] })));
    },
    ...(onGaveUp === undefined ? {} : { onGaveUp }),
  });
}

/** Milliseconds, and how many refused logins are recorded one by one in them. */
const LOGIN_WINDOW = 10_000;
const LOGINS_RECORDED = 50;

/** Records refused logins; of a flood the first ones, and then how many more there were: it must not fill the disk. */
function refusedLogins(services: Services): (reason: string) => void {
  let since = 0;
  let count = 0;
  return (reason) => {
    const now = performance.now();
    if (now - since > LOGIN_WINDOW) {
      if (count > LOGINS_RECORDED) {
        const more = `${count - LOGINS_RECORDED} more in ${Math.round((now - since) / 1000)} s were not recorded one by one`;
        noteInBackground(services, { kind: "login_refused", reason: more });
      }
      since = now;
      count = 0;
    }
    if (++count <= LOGINS_RECORDED) noteInBackground(services, { kind: "login_refused", reason });
  };
}

/** Who it is at this moment. */
function identityNow({ agent, principal }: Identity): { agent: string; principal: string } {
  return { agent, principal };
}

function noteInBackground(services: Services, note: Parameters<Backend["note"]>[0]): void {
  services.backend
    .note(note)
    .catch((thrown: unknown) => services.log.error({ reason: reasonOf(thrown) }, "not recorded"));
}
