import type { Logger } from "../../log.js";
import type { Records } from "./read.js";
import type { Signer } from "./signer.js";

/** Signatures looked at: of every backend that has signed lately. */
const LOOKED_AT = 50;

/**
 * Says so where other backends on the database sign with keys that are not trusted here: a ledger that is sound would not
 * verify in this home.
 */
export async function warnOfForeignKeys(records: Records, signer: Signer, log: Logger): Promise<void> {
  const signed = await records.list({ kinds: ["checkpoint"], limit: LOOKED_AT });
  const trusted = signer.trusted();
  for (const key of new Set(signed.map(({ key_id }) => String(key_id)))) {
    if (trusted?.has(key)) continue;
    log.warn(
      { key },
      "the ledger is signed with a key that is not in ledger.pub of this home: it will not verify here. Add the public key of the other backend to ledger.pub, or give all of them one ledger.key",
    );
  }
}
