import {
  createServer as createHttpServer,
  type RequestListener,
  type Server,
  type ServerOptions,
} from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { Duplex } from "node:stream";

/** PEM. */
export interface Tls {
  readonly cert: string;
  readonly key: string;
}

/** Milliseconds and counts that bound what a client can hold open (threat R4). */
const limits = {
  headersTimeout: 10_000,
  /** The whole request, body included. An answer may take as long as it likes: streams. */
  requestTimeout: 30_000,
  keepAliveTimeout: 60_000,
  // Node looks every 30 s, and so would let a request of 10 s take 40.
  connectionsCheckingInterval: 1000,
  requireHostHeader: true,
} satisfies ServerOptions;

const mostConnections = 10_000;

/** A server that speaks HTTP/1.1, over TLS 1.2 or newer where it is given a certificate. */
export function createServer(handler: RequestListener, tls: Tls | null): Server {
  const server: Server =
    tls === null
      ? createHttpServer(limits, handler)
      : createHttpsServer({ ...limits, ...tls, minVersion: "TLSv1.2" }, handler);
  server.maxConnections = mostConnections;
  server.on("clientError", refuse);
  return server;
}

const statusLines: Record<string, string> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

/** What is not HTTP, or too slow or too large to become a request. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = statusLines[error.code ?? ""] ?? "400 Bad Request";
  const body = JSON.stringify({ detail: status.slice(4) });
  socket.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
}
