import type { AddressInfo } from "node:net";
import { AegisError } from "../../errors.js";
import { isLoopback } from "../../listen.js";
import type { App } from "./app.js";
import type { Tls } from "./server.js";

/** Milliseconds requests have to end before their connections are cut; the process has 2 s in all. */
const grace = 1_000;

/**
 * Refuses an address that others can reach, where tokens would travel in the clear.
 *
 * @throws AegisError usage
 */
export function requireSafeAddress(host: string, tls: Tls | null, insecure: boolean): void {
  if (isLoopback(host) || tls !== null || insecure) return;
  throw new AegisError(
    "usage",
    `--host ${host} leads beyond this machine, where tokens would travel in the clear.`,
    {
      hint: "Give --tls-cert and --tls-key; or --insecure, where a proxy that speaks TLS is the only one to reach it.",
    },
  );
}

/**
 * Listens.
 *
 * @param port 0 lets the system choose
 * @returns the URL to reach it by on this machine
 * @throws AegisError address_in_use
 */
export async function listen(app: App, host: string, port: number, tls: Tls | null): Promise<string> {
  try {
    await app.listen({ host: host.replace(/^\[|\]$/g, ""), port });
  } catch (thrown) {
    throw unusable(host, port, thrown);
  }
  const bound = (app.server.address() as AddressInfo).port;
  const everywhere = host === "0.0.0.0" || host === "::" || host === "[::]";
  const name = everywhere ? "localhost" : host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  return `${tls === null ? "http" : "https"}://${name}:${bound}`;
}

/** Accepts nothing new, ends the streams, lets what is under way end, and cuts what takes longer. */
export async function stop(app: App): Promise<void> {
  const cut = setTimeout(() => app.server.closeAllConnections(), grace);
  try {
    await app.close();
  } finally {
    clearTimeout(cut);
  }
}

function unusable(host: string, port: number, thrown: unknown): AegisError {
  const { code, message } = thrown as NodeJS.ErrnoException;
  return new AegisError(
    "address_in_use",
    code === "EADDRINUSE"
      ? `${host}:${port} is taken by another program.`
      : `Cannot listen on ${host}:${port}: ${message}.`,
    { hint: "Choose another with --port and --host, or stop what uses it.", cause: thrown },
  );
}
