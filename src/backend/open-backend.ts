import { readHomeConfig } from "../config-home.js";
import { type LedgerConfig, ledgerDefaults, readLedger } from "../config-ledger.js";
import type { Logger } from "../log.js";
import type { PolicySet } from "../policy/policy.js";
import { type Composition, compose, type Parts } from "./compose.js";
import { openHome, openHomeDatabase } from "./home.js";
import { claimHome } from "./home-store.js";
import type { Notify } from "./notify/notifier.js";
import type { Service } from "./service.js";
import { openSqlite } from "./store/sqlite.js";
import type { Store } from "./store/store.js";
import { StoredBackend } from "./stored-backend.js";

export interface BackendOptions {
  /** AEGIS_HOME. */
  readonly home: string;
  /** URL of a PostgreSQL database; left out: the SQLite file in AEGIS_HOME. */
  readonly database?: string;
  /** What is in force in this process; left out: the revision that is published in the store. */
  readonly policies?: PolicySet;
  /** Milliseconds until an approval nobody decided expires, where no rule says. */
  readonly holdExpires: number;
  readonly log: Logger;
  /** Milliseconds an ALLOW may be used by a gateway of this process; 200 if left out. */
  readonly lease?: number;
  /** The same by one that asks over HTTP; 2 s if left out. */
  readonly remoteLease?: number;
  /** Left out: as AEGIS_HOME/config.yaml says, in every process that opens this home. */
  readonly ledger?: LedgerConfig;
  /** Who is told of the approvals that are opened here; left out: nobody. */
  readonly notify?: Notify;
}

/**
 * A backend inside this process, over a store that any number of processes share.
 *
 * @throws AegisError `home_insecure`, `store_newer`, `store_corrupt`, `backend_unsupported`, `backend_unavailable`
 */
export async function openBackend(options: BackendOptions): Promise<Service> {
  const { policies = null, holdExpires, lease = 200, remoteLease = 2_000, notify } = options;
  const leases = { local: lease, remote: remoteLease };
  const parts = await openParts(options, {
    policies,
    holdExpires,
    lease: leases,
    ...(notify === undefined ? {} : { notify }),
  });
  const { description } = parts.store;
  return new StoredBackend(policies === null ? description : `embedded (${description})`, parts);
}

/**
 * The parts of a backend, over the store of this place.
 *
 * @throws AegisError as {@link openBackend}
 */
export async function openParts(
  place: Pick<BackendOptions, "home" | "database" | "log" | "ledger">,
  how: Pick<Composition, "policies" | "holdExpires" | "lease" | "notify">,
): Promise<Parts> {
  const { home, database, log } = place;
  openHome(home);
  const ledger = place.ledger ?? (await ledgerOf(home));
  const store = await openStore(home, database, log);
  try {
    return await compose(store, { ...how, home, shared: database !== undefined, ledger, log });
  } catch (thrown) {
    await store.close();
    throw thrown;
  }
}

/**
 * What AEGIS_HOME/config.yaml says of the ledger.
 *
 * @throws AegisError config_invalid
 */
export async function ledgerOf(home: string): Promise<LedgerConfig> {
  const config = await readHomeConfig(home, process.env);
  return config === null ? ledgerDefaults(home) : readLedger(config.settings, home);
}

/**
 * The database of a URL, else the SQLite file in AEGIS_HOME; the home, which is open, is that store's from then on.
 *
 * @throws AegisError as {@link openBackend}
 */
export async function openStore(home: string, database: string | undefined, log: Logger): Promise<Store> {
  if (database === undefined) {
    claimHome(home, null);
    return openSqlite(openHomeDatabase(home));
  }
  // Only who needs it loads the driver.
  const { openPostgres } = await import("./store/postgres.js");
  const store = await openPostgres(database, { log });
  try {
    claimHome(home, store.description);
    return store;
  } catch (thrown) {
    await store.close();
    throw thrown;
  }
}
