import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Backend, Principal } from "../../client/backend.js";
import type { Config } from "../../config.js";
import { AegisError, reasonOf } from "../../errors.js";
import { parseClientFrame } from "../../frame/parse.js";
import { type ClientFrame, FrameError, rpcCodes } from "../../frame/types.js";
import type { Logger } from "../../log.js";
import { legacyRevisions } from "../methods.js";
import { errorFrame } from "../reply.js";
import type { Scope } from "../scope.js";
import { readBody } from "./body.js";
import { bearer, mediaType, refusedOrigin } from "./guard.js";
import { HttpSession } from "./session.js";
import { Sessions } from "./sessions.js";

export interface HttpFrontOptions {
  readonly host: string;
  readonly port: number;
  readonly backend: Backend;
  readonly config: Config;
  readonly log: Logger;
  /** A scope for a new session. */
  readonly newScope: (session: HttpSession) => Promise<Scope>;
  readonly isEndpoint: (path: string) => boolean;
  readonly onBadFrame: (principal: Principal, reason: string) => void;
  readonly onLoginRefused: (reason: string) => void;
}

/** Streamable HTTP for clients of the legacy era: `/mcp` is all servers, `/mcp/KEY` one. */
export class HttpFront {
  private readonly sessions: Sessions;
  private readonly server: Server;
  private port = 0;

  private constructor(private readonly options: HttpFrontOptions) {
    this.server = createServer({
      requestTimeout: 30_000,
      headersTimeout: 10_000,
      keepAliveTimeout: 60_000,
      // Node looks every 30 s, and so would let a request of 10 s take 40 (threat R4).
      connectionsCheckingInterval: 1000,
    });
    this.server.on("request", (request, response) => {
      this.handle(request, response).catch((thrown: unknown) => this.failed(response, thrown));
    });
    this.sessions = new Sessions(options.backend, options.config.limits, options.log);
  }

  /** @throws AegisError address_in_use */
  static async listening(options: HttpFrontOptions): Promise<HttpFront> {
    const front = new HttpFront(options);
    await new Promise<void>((resolve, reject) => {
      front.server.once("error", (error) => reject(unusable(options, error)));
      front.server.listen(options.port, options.host, resolve);
    });
    front.port = (front.server.address() as AddressInfo).port;
    return front;
  }

  get url(): string {
    const host = this.options.host.includes(":") ? `[${this.options.host}]` : this.options.host;
    return `http://${host}:${this.port}/mcp`;
  }

  /** Ends every session that was opened with this token. */
  endToken(token: number): Promise<void> {
    return this.sessions.endToken(token);
  }

  async close(): Promise<void> {
    this.server.close();
    await this.sessions.close();
    this.server.closeAllConnections();
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const origin = refusedOrigin(request, this.port);
    if (origin !== null) {
      this.options.onLoginRefused(origin);
      return refuse(response, 403, `Forbidden: ${origin}`);
    }
    const token = bearer(request);
    const principal = token === null ? null : await this.options.backend.authenticate(token);
    if (principal === null) {
      this.options.onLoginRefused(
        token === null ? "no bearer token" : "the token is unknown, expired or revoked",
      );
      response.setHeader("www-authenticate", 'Bearer realm="aegis"');
      return refuse(response, 401, "Unauthorized: send a token of role agent as Authorization: Bearer …");
    }
    // Whoever can decide must not run tools, and the other way round (invariant 5).
    if (principal.role !== "agent" || principal.agent === null) {
      this.options.onLoginRefused(`the token ${principal.name} has the role ${principal.role}`);
      return refuse(response, 403, "Forbidden: only a token of role agent can use MCP");
    }
    const path = pathOf(request.url ?? "/");
    if (!this.options.isEndpoint(path))
      return refuse(response, 404, "Not found: the endpoints are /mcp and /mcp/KEY");
    const version = request.headers["mcp-protocol-version"];
    if (version !== undefined && !legacyRevisions.includes(String(version))) {
      return refuse(response, 400, `Bad request: the protocol version ${String(version)} is not supported`);
    }
    switch (request.method) {
      case "POST":
        return this.post(request, response, principal, path);
      case "GET":
        return this.get(request, response, principal, path);
      case "DELETE": {
        const session = this.session(request, response, principal, path);
        if (session === null) return;
        await this.sessions.end(session);
        response.writeHead(200).end();
        return;
      }
      default:
        response.setHeader("allow", "GET, POST, DELETE");
        return refuse(response, 405, "Method not allowed");
    }
  }

  private async post(
    request: IncomingMessage,
    response: ServerResponse,
    principal: Principal,
    path: string,
  ): Promise<void> {
    if (mediaType(request) !== "application/json" || request.headers["content-encoding"] !== undefined) {
      return refuse(response, 415, "Unsupported media type: send application/json, not encoded");
    }
    const limit = this.options.config.limits.frame;
    const body = await readBody(request, limit);
    if ("problem" in body) {
      if (body.problem === "aborted") return;
      const tooLong = body.problem === "too_long";
      const reason = tooLong
        ? `Refused: the frame is over ${limit} bytes.`
        : "Parse error: the frame is not UTF-8.";
      this.options.onBadFrame(principal, reason);
      const code = tooLong ? rpcCodes.invalidRequest : rpcCodes.parseError;
      return send(response, tooLong ? 413 : 400, errorFrame("null", code, reason));
    }
    let frame: ClientFrame;
    try {
      frame = parseClientFrame(body.text);
    } catch (thrown) {
      if (!(thrown instanceof FrameError)) throw thrown;
      this.options.onBadFrame(principal, thrown.message);
      return send(response, 400, errorFrame(thrown.id, thrown.code, thrown.message));
    }
    const session =
      frame.kind === "request" && frame.method === "initialize"
        ? await this.open(request, response, principal, path)
        : this.session(request, response, principal, path);
    if (session === null) return;
    if (frame.kind === "request") {
      // A handshake that came to nothing leaves no session behind.
      const onOver = (): void => {
        if (session.scope.protocolVersion === null) this.sessions.endInBackground(session);
      };
      session.scope.receive(frame, session.exchange(request, response, onOver));
    } else {
      session.scope.receive(frame, null);
      response.writeHead(202).end();
    }
  }

  private get(request: IncomingMessage, response: ServerResponse, principal: Principal, path: string): void {
    if (!/text\/event-stream|\*\/\*/.test(request.headers.accept ?? "")) {
      refuse(response, 406, "Not acceptable: a GET is answered with text/event-stream");
      return;
    }
    const session = this.session(request, response, principal, path);
    if (session === null) return;
    const from = request.headers["last-event-id"];
    if (!session.listen(response, Array.isArray(from) ? from[0] : from)) {
      refuse(response, 404, "Not found: this stream is not kept any more");
    }
  }

  /** The session a request names. One of somebody else looks like one that does not exist. */
  private session(
    request: IncomingMessage,
    response: ServerResponse,
    principal: Principal,
    path: string,
  ): HttpSession | null {
    const id = request.headers["mcp-session-id"];
    if (typeof id !== "string") {
      refuse(response, 400, "Bad request: initialize first, then send its Mcp-Session-Id");
      return null;
    }
    const session = this.sessions.get(id);
    if (session === undefined || !session.belongsTo(principal, path)) {
      refuse(response, 404, "Not found: no such session; initialize again");
      return null;
    }
    session.lastUsed = performance.now();
    return session;
  }

  private async open(
    request: IncomingMessage,
    response: ServerResponse,
    principal: Principal,
    path: string,
  ): Promise<HttpSession | null> {
    if (request.headers["mcp-session-id"] !== undefined) {
      refuse(response, 400, "Bad request: the session is initialized already");
      return null;
    }
    if (this.sessions.full) {
      refuse(response, 503, "Too many sessions are open");
      return null;
    }
    const session = new HttpSession(principal, path, bearer(request) ?? "");
    // Counted before anything is awaited: the limit holds for those that are being opened too.
    this.sessions.add(session);
    try {
      session.scope = await this.options.newScope(session);
    } catch (thrown) {
      await this.sessions.end(session);
      throw thrown;
    }
    return session;
  }

  private failed(response: ServerResponse, thrown: unknown): void {
    this.options.log.error({ reason: reasonOf(thrown) }, "request failed");
    if (!response.headersSent) refuse(response, 503, "The gateway could not handle the request");
    else response.destroy();
  }
}

/** Without query and trailing slash. */
function pathOf(url: string): string {
  const query = url.indexOf("?");
  const path = query < 0 ? url : url.slice(0, query);
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

function refuse(response: ServerResponse, status: number, message: string): void {
  send(response, status, errorFrame("null", rpcCodes.refused, message));
}

function send(response: ServerResponse, status: number, text: string): void {
  if (response.destroyed) return;
  // The body of a refused request is not read: let it flow past, so that the connection can be used again.
  response.req.resume();
  response.writeHead(status, { "content-type": "application/json" }).end(text);
}

function unusable({ host, port }: HttpFrontOptions, error: Error): AegisError {
  const taken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  return new AegisError(
    "address_in_use",
    taken
      ? `${host}:${port} is taken by another program.`
      : `Cannot listen on ${host}:${port}: ${error.message}.`,
    { hint: "Choose another with --http HOST:PORT, or stop what uses it.", cause: error },
  );
}
