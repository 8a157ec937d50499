import type { Principal } from "../../../client/backend.js";
import { AegisError } from "../../../errors.js";
import type { Service } from "../../service.js";
import { HttpError } from "../errors.js";

const verdicts: ReadonlyMap<string, "approved" | "denied"> = new Map([
  ["APPROVED", "approved"],
  ["DENIED", "denied"],
]);

/**
 * One compare-and-set, whichever route it came by (threats Z5, Z6).
 *
 * @throws AegisError `unknown_approval`, `not_permitted`; HttpError 400 where it is decided already, or the decision is
 *   neither
 */
export async function decide(service: Service, id: number, decision: string, by: Principal): Promise<void> {
  const verdict = verdicts.get(decision);
  if (verdict === undefined) {
    await service.approval(id);
    throw new HttpError(400, "Decision must be APPROVED or DENIED");
  }
  try {
    await service.decideApproval(id, verdict, by, "", { channel: "cli" });
  } catch (thrown) {
    if (thrown instanceof AegisError && thrown.code === "approval_settled")
      throw new HttpError(400, thrown.message);
    throw thrown;
  }
}
