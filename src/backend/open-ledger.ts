import type { LedgerConfig } from "../config-ledger.js";
import type { Logger } from "../log.js";
import { policySet } from "../policy/file/load.js";
import { decompose, type Parts } from "./compose.js";
import { openHome } from "./home.js";
import { Signer } from "./ledger/signer.js";
import { ledgerOf, openParts, openStore } from "./open-backend.js";
import type { Store } from "./store/store.js";

export interface LedgerPlace {
  /** AEGIS_HOME. */
  readonly home: string;
  /** URL of a PostgreSQL database; left out: the SQLite file in AEGIS_HOME. */
  readonly database?: string;
  readonly log: Logger;
}

/** A store with what its ledger is held against, and nothing that would write or sign. */
export interface OpenLedger {
  readonly store: Store;
  readonly signer: Signer;
  readonly ledger: LedgerConfig;
}

/**
 * Opens a ledger to read it: nothing is signed, so that what is verified is what was found.
 *
 * @throws AegisError as `openBackend`
 */
export async function readLedgerOf<Result>(
  { home, database, log }: LedgerPlace,
  use: (ledger: OpenLedger) => Promise<Result>,
): Promise<Result> {
  openHome(home);
  const ledger = await ledgerOf(home);
  const store = await openStore(home, database, log);
  try {
    return await use({ store, signer: new Signer(home), ledger });
  } finally {
    await store.close();
  }
}

/**
 * Opens a ledger to write: with all that keeps it.
 *
 * @throws AegisError as `openBackend`
 */
export async function writeLedgerOf<Result>(
  place: LedgerPlace,
  use: (parts: Parts) => Promise<Result>,
): Promise<Result> {
  const lease = { local: 0, remote: 0 };
  const parts = await openParts(place, { policies: policySet([]), holdExpires: 0, lease });
  try {
    return await use(parts);
  } finally {
    await decompose(parts);
  }
}
