import { Client, type ClientConfig } from "pg";
import { AegisError, reasonOf } from "../../errors.js";

/** What a `--database` URL says. */
export interface PostgresAddress {
  /** For people: host and database, nothing secret. */
  readonly description: string;
  readonly config: ClientConfig;
  /** Off where the database has no LISTEN: it is looked at more often instead. */
  readonly listen: boolean;
}

const schemes = /^postgres(?:ql)?:\/\//;
const ours = /^aegis_/;

/**
 * Reads `postgres://user:password@host:port/database?…`. Parameters that begin with `aegis_` are ours (`aegis_listen=off`);
 * all others (`host=/socket/folder`, `sslmode`, …) are for `pg`.
 *
 * @throws AegisError `usage`, without anything of the URL: it may hold a password
 */
export function readPostgresUrl(url: string): PostgresAddress {
  if (!schemes.test(url)) throw refused("it begins neither with postgres:// nor with postgresql://");
  const [address = "", ...rest] = url.split("?");
  const parameters = rest.join("?").split("&").filter(Boolean);
  const listen = readListen(parameters.filter((parameter) => ours.test(parameter)));
  const others = parameters.filter((parameter) => !ours.test(parameter));
  const connectionString = others.length === 0 ? address : `${address}?${others.join("&")}`;
  try {
    const { host, port, database } = new Client({ connectionString });
    return { description: describe(host, port, database ?? ""), config: { connectionString }, listen };
  } catch (thrown) {
    // Not as the cause: an error about a URL quotes it.
    throw refused(reasonOf(thrown));
  }
}

function readListen(settings: readonly string[]): boolean {
  let listen = true;
  for (const setting of settings) {
    if (setting !== "aegis_listen=on" && setting !== "aegis_listen=off") {
      throw refused(`"${setting}" is no setting; there is aegis_listen=on and aegis_listen=off`);
    }
    listen = setting === "aegis_listen=on";
  }
  return listen;
}

function describe(host: string, port: number, database: string): string {
  if (host.startsWith("/")) return `postgres:///${database}?host=${host}`;
  return `postgres://${host.includes(":") ? `[${host}]` : host}:${port}/${database}`;
}

function refused(why: string): AegisError {
  return new AegisError("usage", `The URL of the database cannot be used: ${why}.`, {
    hint: "It has the form postgres://user:password@host:5432/database.",
  });
}
