import type { TrustedKeys } from "../backend/ledger/signature.js";
import type { LedgerPlace } from "../backend/open-ledger.js";
import { AegisError, reasonOf } from "../errors.js";
import { readTextFile } from "../text-file.js";
import { chooseBackend } from "./backend-choice.js";
import type { CommonOptions, Context } from "./context.js";

/** What the commands take that work on the ledger itself. */
export interface LedgerFlags {
  readonly database?: string;
}

/**
 * Whether the ledger is on the other side of a backend's API.
 *
 * @throws AegisError usage where two places are named
 */
export async function remoteLedger(context: Context, options: CommonOptions & LedgerFlags): Promise<boolean> {
  const { database, backend } = options;
  if (database !== undefined) {
    if (backend === undefined) return false;
    throw new AegisError("usage", "--database and --backend name two places.");
  }
  return (await chooseBackend(backend, context.env, context.home)) !== null;
}

/** The store that is meant: of the flag, else the one in AEGIS_HOME. */
export async function ledgerPlace({ home }: Context, { database }: LedgerFlags): Promise<LedgerPlace> {
  const { createLogger } = await import("../log.js");
  return { home, log: createLogger(), ...(database === undefined ? {} : { database }) };
}

/**
 * The public keys that are to be believed: of the files that are named, else what AEGIS_HOME has.
 *
 * @throws AegisError usage, ledger_key
 */
export async function readKeys(
  files: readonly string[] | undefined,
  fallback: () => TrustedKeys | null,
): Promise<TrustedKeys | null> {
  if (files === undefined) return fallback();
  const { trustedKeys } = await import("../backend/ledger/signature.js");
  const pems = await Promise.all(
    files.map(async (from) => ({
      from,
      text: await readTextFile(from).catch((thrown: unknown) => {
        throw new AegisError("ledger_key", `${from}: ${reasonOf(thrown)}.`, { cause: thrown });
      }),
    })),
  );
  return trustedKeys(pems);
}
