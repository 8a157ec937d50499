import type { BackendEvent } from "../client/backend.js";
import type { ServerConfig } from "../config.js";
import { reasonOf } from "../errors.js";
import type { ClientFrame, Json, ResponseFrame, ServerFrame } from "../frame/types.js";
import { Catalog } from "./catalog.js";
import { ClientQuestions } from "./client-questions.js";
import { MergedLists } from "./merged-lists.js";
import { exposedName, mayBeOf } from "./names.js";
import type { CatalogTool } from "./offered.js";
import type { Pipeline } from "./pipeline.js";
import { relayFromServer, relayReconnect } from "./relay.js";
import type { AbortCause, ClientRequest, Exchange } from "./request.js";
import { routeFromClient } from "./router.js";
import { type LinkOwner, ServerLink } from "./servers/link.js";
import type { Services } from "./services.js";
import { sightOffers } from "./sightings.js";

/** The way to the client for what is no answer. Implementations: the stdio front, an HTTP session. */
export interface ClientPort {
  /** `hint` is a request of the client that is open at the server the message comes from, where there is one. */
  send(text: string, hint: Exchange | null): void;
}

/** A request of a server that the client has not answered yet. */
export interface ServerRequest {
  readonly link: ServerLink;
  readonly generation: number;
  /** The server's own id, as JSON text. */
  readonly key: string;
  readonly method: string;
  /** The progress token as the client sees it and as the server wrote it, as JSON text; null without one. */
  readonly token: { readonly shown: string; readonly original: string } | null;
}

/**
 * Who a client is to the backend. Of the stdio front it may turn out later, but before its first call is decided: the
 * backend says whom the gateway's token stands for, and may not have been there at the start.
 */
export interface Identity {
  readonly agent: string;
  readonly principal: string;
}

export interface ScopeOptions {
  readonly services: Services;
  readonly pipeline: Pipeline;
  readonly identity: Identity;
  readonly servers: readonly ServerConfig[];
  /** `bare`: one server in its own words and names. `prefixed`: all of them, merged. */
  readonly naming: "bare" | "prefixed";
  readonly port: ClientPort;
  /** The tools of every server that answered were read for the first time. */
  readonly onTools?: (tools: ReadonlyMap<string, ReadonlyMap<string, CatalogTool>>) => Promise<void>;
  /** The only server ended and does not come back. */
  readonly onGaveUp?: (exitCode: number | null) => void;
}

/** What one client connection may see: its identity, its own connections to the servers, its open requests. */
export class Scope implements LinkOwner {
  readonly services: Services;
  readonly pipeline: Pipeline;
  readonly port: ClientPort;
  readonly links: ReadonlyMap<string, ServerLink>;
  readonly catalogs: ReadonlyMap<string, Catalog>;
  /** The one server of a `bare` scope. */
  readonly sole: ServerLink | null;
  readonly lists: MergedLists;
  /** The client's open requests by id, and those with a progress token by token. */
  readonly requests = new Map<string, ClientRequest>();
  readonly byToken = new Map<string, ClientRequest>();
  /** The servers' open requests, by the id the client sees. */
  readonly serverRequests = new Map<string, ServerRequest>();
  /** Questions of the gateway's own. */
  readonly questions = new ClientQuestions();
  /** What the client set on its connection, to be said again to a server that had to be restarted. */
  readonly settings = { level: null as string | null, subscriptions: new Set<string>() };
  capabilities: Json = {};
  /** What the client calls itself in `initialize`: its own claim; null where it says nothing of the kind. */
  client: { readonly name: string; readonly version: string } | null = null;
  protocolVersion: string | null = null;
  private ended = false;
  private ending: Promise<number | null> | undefined;
  private counter = 0;
  private toolsTold = false;
  private readonly unsubscribe: () => void;

  constructor(private readonly options: ScopeOptions) {
    const { services, servers, naming, port } = options;
    this.services = services;
    this.pipeline = options.pipeline;
    this.port = port;
    const { log, config } = services;
    const links = servers.map((server) => new ServerLink(server, this, config.limits.frame, log));
    this.links = new Map(links.map((link) => [link.key, link]));
    this.catalogs = new Map(links.map((link) => [link.key, this.newCatalog(link)]));
    this.sole = naming === "bare" ? (links[0] ?? null) : null;
    this.lists = new MergedLists(this);
    const unsubscribers = [
      services.killSwitch.onKill((killed) => {
        if (killed === this.agent) this.abortAll("killed");
      }),
      services.backend.subscribe((event) => this.hear(event)),
    ];
    this.unsubscribe = () => {
      for (const unsubscribe of unsubscribers) unsubscribe();
    };
  }

  get agent(): string {
    return this.options.identity.agent;
  }

  get principal(): string {
    return this.options.identity.principal;
  }

  /** A frame of the client. `exchange` is the way back, for a request. */
  receive(frame: ClientFrame, exchange: Exchange | null): void {
    if (!this.ended) routeFromClient(this, frame, exchange);
  }

  fromServer(link: ServerLink, frame: Exclude<ServerFrame, ResponseFrame>, about: string | null): void {
    if (!this.ended) relayFromServer(this, link, frame, about);
  }

  lost(link: ServerLink): void {
    this.catalogs.get(link.key)?.invalidate();
    this.lists.invalidate();
    for (const [key, asked] of this.serverRequests) if (asked.link === link) this.serverRequests.delete(key);
  }

  reconnected(link: ServerLink): void {
    if (!this.ended) relayReconnect(this, link);
  }

  gaveUp(link: ServerLink, code: number | null): void {
    if (this.sole === link) this.options.onGaveUp?.(code);
  }

  /** As `findTool`, where the server is up and its tools are known. */
  knownTool(name: string): { link: ServerLink; tool: CatalogTool } | undefined {
    for (const [key, link] of this.links) {
      if (!link.isUp) continue;
      const tool = this.catalogs.get(key)?.known(this.sole === null ? name.slice(key.length + 2) : name);
      if (tool !== undefined && this.exposes(key, tool.name) === name) return { link, tool };
    }
    return undefined;
  }

  /** The server and tool behind the name the client uses. @throws AegisError server_unavailable */
  async findTool(name: string): Promise<{ link: ServerLink; tool: CatalogTool } | undefined> {
    let failure: unknown;
    for (const [key, link] of this.links) {
      // Which servers are worth asking; what counts is the comparison with the exposed name of a real tool below.
      if (this.sole === null && !mayBeOf(key, name)) continue;
      const catalog = this.catalogs.get(key);
      try {
        await link.ready();
        const direct = await catalog?.find(this.sole === null ? name.slice(key.length + 2) : name);
        if (direct !== undefined && this.exposes(key, direct.name) === name) return { link, tool: direct };
        for (const tool of (await catalog?.all())?.values() ?? []) {
          if (this.exposes(key, tool.name) === name) return { link, tool };
        }
      } catch (thrown) {
        // Another server may still have it: one that is down must not take their tools along.
        failure ??= thrown;
      }
    }
    if (failure !== undefined) throw failure;
    return undefined;
  }

  /** Reads every server's tools ahead of the first call; a server that does not answer is left out. */
  async readTools(): Promise<void> {
    const { log } = this.services;
    const read = new Map<string, ReadonlyMap<string, CatalogTool>>();
    await Promise.all(
      [...this.catalogs].map(async ([key, catalog]) => {
        try {
          read.set(key, await catalog.all());
        } catch (thrown) {
          log.warn({ server: key, reason: reasonOf(thrown) }, "tools could not be read");
        }
      }),
    );
    if (this.toolsTold || read.size === 0) return;
    this.toolsTold = true;
    await this.options.onTools?.(read);
  }

  private newCatalog(link: ServerLink): Catalog {
    const { backend, log } = this.services;
    return new Catalog(
      link,
      (offers) =>
        sightOffers(
          {
            backend,
            agent: this.agent,
            server: link.key,
            instructions: link.initialized?.instructions,
          },
          offers,
        ),
      log,
    );
  }

  /** Another policy, or what is pinned of tools was accepted or has changed: other tools may be hidden now. */
  private hear(event: BackendEvent): void {
    const concerned =
      event.kind === "policy" ||
      event.kind === "resync" ||
      (event.kind === "tools" && event.agent === this.agent);
    if (!concerned) return;
    for (const catalog of this.catalogs.values()) this.background(this.sightAgain(catalog));
  }

  private async sightAgain(catalog: Catalog): Promise<void> {
    if ((await catalog.sightAgain()) && !this.ended)
      this.port.send('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', null);
  }

  exposes(server: string, name: string): string {
    return this.sole === null ? exposedName(server, name) : name;
  }

  /** Runs work that nobody waits for; what it throws is logged. */
  background(work: Promise<void>): void {
    work.catch((thrown: unknown) => this.services.log.error({ reason: reasonOf(thrown) }, "unexpected"));
  }

  begin(request: ClientRequest): void {
    this.requests.set(request.key, request);
    if (request.progressToken !== null) this.byToken.set(request.progressToken, request);
  }

  finish(request: ClientRequest): void {
    if (this.requests.get(request.key) === request) this.requests.delete(request.key);
    const { progressToken } = request;
    if (progressToken !== null && this.byToken.get(progressToken) === request)
      this.byToken.delete(progressToken);
  }

  /** For ids of ours in this scope. */
  nextNumber(): number {
    return ++this.counter;
  }

  get isEnding(): boolean {
    return this.ended;
  }

  get busy(): boolean {
    return this.requests.size > 0;
  }

  /** Resolves when every request that is open has its answer, or after `patience` milliseconds. */
  async drain(patience: number): Promise<void> {
    const until = performance.now() + patience;
    while (this.busy && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 10));
  }

  /**
   * The client is gone: held calls let go of their approvals, running ones are told, the servers are closed. Resolves
   * with the exit code of the only server, where it ended by itself.
   */
  end(): Promise<number | null> {
    this.ending ??= this.close();
    return this.ending;
  }

  private async close(): Promise<number | null> {
    this.ended = true;
    this.unsubscribe();
    this.abortAll("closed");
    const codes = await Promise.all([...this.links.values()].map((link) => link.close()));
    return this.sole === null ? null : (codes[0] ?? null);
  }

  private abortAll(cause: AbortCause): void {
    for (const request of this.requests.values()) request.abort(cause);
  }
}
