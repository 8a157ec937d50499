import type { TrustedKeys } from "../../backend/ledger/signature.js";
import type { LedgerPlace } from "../../backend/open-ledger.js";
import { AegisError, reasonOf } from "../../errors.js";
import { readTextFile } from "../../text-file.js";
import { chooseBackend, type RemoteChoice } from "../backend-choice.js";
import type { CommonOptions, Context } from "../context.js";

/** What the commands take that work on the ledger itself. */
export interface LedgerFlags {
  readonly database?: string;
  /** The store in AEGIS_HOME, whichever backend is named. */
  readonly local?: boolean;
}

/**
 * The backend on whose side of the API the ledger is; null where it is the store itself that is meant.
 *
 * @throws AegisError usage where two places are named
 */
export async function remoteLedger(
  context: Context,
  options: CommonOptions & LedgerFlags,
): Promise<RemoteChoice | null> {
  const { database, local = false, backend } = options;
  const named = [
    ...(database === undefined ? [] : ["--database"]),
    ...(local ? ["--local"] : []),
    ...(backend === undefined ? [] : ["--backend"]),
  ];
  if (named.length > 1) throw new AegisError("usage", `${named.join(" and ")} name two places.`);
  if (local || database !== undefined) return null;
  return chooseBackend(backend, context.env, context.home);
}

/** How to come to the store itself from where a backend was named. */
export function besideTheBackend({ where }: RemoteChoice): string {
  const without =
    where === "AEGIS_BACKEND_URL"
      ? "unset AEGIS_BACKEND_URL, or give --local"
      : where === "--backend"
        ? "leave out --backend"
        : "give --local";
  return `On the machine of the backend: ${without} for the store in AEGIS_HOME, or name its database: --database postgres://…`;
}

/** The store that is meant: of the flag, else the one in AEGIS_HOME. */
export async function ledgerPlace({ home }: Context, { database }: LedgerFlags): Promise<LedgerPlace> {
  const { createLogger } = await import("../../log.js");
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
  const { trustedKeys } = await import("../../backend/ledger/signature.js");
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
