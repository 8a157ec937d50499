import { isIPv4 } from "node:net";

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** `127.0.0.1:8100`, `localhost:8100`, `[::1]:8100`; port 0 lets the system choose. Null for anything else. */
export function parseListen(text: string): ListenAddress | null {
  const [, bracketed, plain, digits] =
    /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  return host === undefined || port > 65_535 ? null : { host, port };
}

/** Only this machine can reach it: 127.0.0.0/8, ::1 or `localhost`. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  return (
    name === "localhost" || name === "::1" || name === "[::1]" || (isIPv4(name) && name.startsWith("127."))
  );
}
