import type { Notify } from "../backend/notify/notifier.js";
import { readHomeConfig } from "../config-home.js";
import { readNotify } from "../config-notify.js";
import { isLoopback } from "../listen.js";

/**
 * Whom a process that opens approvals tells of them, as AEGIS_HOME/config.yaml says; a member of the options of a backend.
 *
 * @param page the origin of its pages; null where it has none
 * @throws AegisError config_invalid
 */
export async function notifyOf(
  home: string,
  env: NodeJS.ProcessEnv,
  page: string | null,
): Promise<{ readonly notify?: Notify }> {
  const config = await readHomeConfig(home, env);
  const notify = config === null ? null : readNotify(config.settings);
  return notify === null ? {} : { notify: { ...notify, page } };
}

/** Where `aegis backend` is reached by whoever is told of an approval; null where that is not known. */
export function pageOrigin(
  publicUrl: URL | null,
  { host, port }: { readonly host: string; readonly port: number },
  secure: boolean,
): string | null {
  if (publicUrl !== null) return publicUrl.origin;
  // What listens for others has a name that only its operator knows, and a port the system chooses is not known yet.
  if (!isLoopback(host) || port === 0) return null;
  return `${secure ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
