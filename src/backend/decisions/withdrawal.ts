import type { Approvals } from "../approvals/approvals.js";
import { type ApprovalRow, settledText } from "../approvals/rows.js";
import type { Batch } from "../batch.js";
import type { Grants } from "../grants/grants.js";
import type { Digester } from "./digest.js";
import type { Current } from "./prepare.js";

/** Why what let a call run before, or is to let it run now, does not (invariant 3): asked at every use. */
export class Withdrawal {
  constructor(
    private readonly parts: {
      readonly approvals: Approvals;
      readonly grants: Grants;
      readonly digester: Digester;
    },
  ) {}

  /** Why an approval does not let this call run, or null where it does. Ends it where it can never be used. */
  async ofApproval(
    batch: Batch,
    current: Current,
    id: number,
    row: ApprovalRow | undefined,
  ): Promise<string | null> {
    const { approvals } = this.parts;
    const { intent, digest, said } = current;
    if (row === undefined) return `There is no approval ${id}.`;
    const foreign = `Approval ${id} was given for another call.`;
    if (digest === null || row.agent !== intent.agent || row.principal !== intent.principal) return foreign;
    // It was judged and shown under this name.
    if (row.action !== intent.action) return foreign;
    if (row.status !== "approved") return `${settledText(row)}; this call was not run.`;
    if (await approvals.expireIfDue(batch, row))
      return `${settledText({ ...row, status: "expired" })}; this call was not run.`;
    const voided = async (cause: string): Promise<string> => {
      await approvals.void(batch, row, cause);
      return `Approval ${id} is void: ${cause}.`;
    };
    if (row.digest !== digest) {
      const cause = this.changed(current, row);
      return cause === null ? foreign : voided(cause);
    }
    if (row.waiter_call !== null && row.waiter_call !== intent.call)
      return `Another call waits on approval ${id}.`;
    if (isRedefined(current, row)) return voided("the tool's definition changed after it was shown");
    const fallen = await approvals.standing(batch, row);
    if (fallen !== null) return voided(fallen);
    if (said.decision !== "BLOCK") return null;
    if (said.passing === true) {
      // Nobody waits on it any more: the repeat of the call finds it.
      await approvals.detach(id, intent.call);
      return `${said.reason} Approval ${id} stays: repeat exactly the same call to pick it up.`;
    }
    await approvals.void(batch, row, "the policy blocks the call now");
    return `${said.reason} Approval ${id} is void.`;
  }

  /** Why a call that was allowed may not run any more, or null where it may. @param grant the one that let it through */
  async ofAllowed(
    batch: Batch,
    current: Current,
    used: ApprovalRow | undefined,
    grant: number | null,
  ): Promise<string | null> {
    const { approvals, grants } = this.parts;
    const { said } = current;
    if (used !== undefined) {
      const fallen = isRedefined(current, used)
        ? "the tool's definition changed after it was shown"
        : await approvals.standing(batch, used);
      if (fallen !== null) return `Approval ${used.id} does not count any more: ${fallen}.`;
    }
    if (said.decision === "ALLOW") return null;
    if (said.decision === "BLOCK") return said.reason;
    if (used !== undefined) return null;
    const more = " Repeat the call to ask for approval.";
    if (grant === null || said.requirement?.grant == null) return said.reason + more;
    const ended = await grants.withdrawn(batch, grant, said.requirement);
    return ended === null ? null : ended + more;
  }

  /** Why the approval is not about the call as it is now; null where it never was about this call. */
  private changed({ asked, intent }: Current, row: ApprovalRow): string | null {
    const { digester } = this.parts;
    const { agent, server, tool, stage } = intent;
    const names = {
      agent,
      server,
      tool,
      definition: row.definition,
      ...(stage === undefined ? {} : { stage }),
    };
    if (digester.digest({ ...names, arguments: intent.arguments }) === row.digest)
      return "the tool's definition changed after it was shown";
    const asShown =
      row.waiter_call === intent.call ||
      digester.digest({ ...names, arguments: asked.arguments }) === row.digest;
    return asShown ? "what the policy redacts of the arguments changed after they were shown" : null;
  }
}

/** The same definition again is another one, if it was not the same all the time. */
function isRedefined({ version }: Current, { tool_version }: ApprovalRow): boolean {
  return tool_version !== null && tool_version !== version;
}
