import type { Approval, ApprovalStatus, Verdict, Waiting } from "../../client/backend.js";
import { isAboutTool } from "../../tool-reasons.js";
import { type Call, type CallResult, refusedBy } from "../call.js";
import type { Step } from "../pipeline.js";
import type { Services } from "../services.js";
import { askClient } from "./ask-client.js";
import { accept } from "./authorize.js";
import { decided } from "./person.js";

/**
 * Suspends a call on REVIEW until a person has decided, at most `hold.wait`. Leaving does not touch the approval: it
 * waits for the repeat of the call until it expires (`policy.md`, “A waiter is not the approval”).
 */
export function hold(services: Services): Step {
  const { backend, killSwitch, howToAllow } = services;
  return async (call, next) => {
    if (call.verdict?.decision !== "REVIEW") return next();
    const { approval } = call.verdict;
    if (approval === undefined) throw new Error("a REVIEW without an approval");

    try {
      return await held(call, approval, call.verdict, next);
    } catch (thrown) {
      // A waiter that stayed behind would keep the repeat of the call from finding its approval.
      await backend.detachWaiter(approval.id, call.intent.call);
      throw thrown;
    }
  };

  async function held(
    call: Call,
    approval: Waiting,
    asked: Verdict,
    next: () => Promise<CallResult>,
  ): Promise<CallResult> {
    const { rule } = asked;
    const withdraw = askClient(services, call, approval);
    const ended = await decided(services, call, approval).finally(withdraw);
    switch (ended) {
      case "approved":
        return release(call, approval.id, next);
      case "timeout":
        await backend.detachWaiter(approval.id, call.intent.call);
        return {
          kind: "waiting",
          approval: approval.id,
          refusal: {
            decision: "REVIEW",
            rule,
            approval: approval.id,
            reason: await pendingText(call, approval.id, asked),
          },
        };
      case "cancelled":
      case "closed":
        await backend.detachWaiter(approval.id, call.intent.call);
        return { kind: "cancelled" };
      case "killed":
        return killed(approval.id);
      default:
        if (killSwitch.isKilled(call.intent.agent)) return killed(approval.id);
        return refusedAfter(await backend.approval(approval.id), rule);
    }
  }

  /** Everything is asked again, under the state of this moment (invariant 3). */
  async function release(call: Call, approval: number, next: () => Promise<CallResult>): Promise<CallResult> {
    const tool = await call.currentTool();
    const verdict = await backend.release(
      { ...call.intent, definition: tool?.definition ?? "gone" },
      approval,
    );
    accept(call, verdict);
    return verdict.decision === "ALLOW" ? next() : refusedBy(verdict);
  }

  /** A refusal says less where the approval cannot be read just now: it is no less a refusal. */
  async function soFar(id: number): Promise<string> {
    return backend.approval(id).then(progressOf, () => "nobody has decided yet");
  }

  /** Why it is held is told as it was decided; how it would be allowed for good only where nothing but a default holds it. */
  async function pendingText(call: Call, id: number, { rule, reason }: Verdict): Promise<string> {
    const { agent, action } = call.intent;
    const allow = rule === null && !isAboutTool(reason) ? howToAllow(agent, action) : null;
    return (
      `${action} needs a person's approval and ${await soFar(id)} (approval ${id}). ${whyText(reason)}` +
      `A person decides with \`aegis approve ${id}\` or \`aegis deny ${id}\`. ` +
      "Repeat exactly the same call to pick the decision up." +
      (allow === null ? "" : ` ${allow}`)
    );
  }
}

function whyText(reason: string): string {
  const said = reason.trim();
  if (said === "") return "";
  return `Why: ${said}${/[.!?…]$/u.test(said) ? "" : "."} `;
}

/** Of those who approved the caller learns the number: who may decide, and how, is the policy's (threat A26). */
function progressOf({ requirement, votes }: Approval): string {
  if (requirement.quorum === 1) return "nobody has decided yet";
  return `${votes.length} of the ${requirement.quorum} people it takes have approved so far`;
}

function killed(approval: number): CallResult {
  const reason = "The agent was stopped while this call waited for approval; it was not run.";
  return { kind: "refused", refusal: { decision: "KILLED", rule: null, reason, approval } };
}

function refusedAfter(approval: Approval, rule: string | null): CallResult {
  const said = approval.decidedReason ? `: ${approval.decidedReason}` : "";
  const reasons: Record<ApprovalStatus, string> = {
    denied: `${approval.decidedBy ?? "A person"} denied this call${said}`,
    expired: "Nobody decided in time; the approval has expired. Repeating the call asks again",
    void: `The approval became void${said}. Repeating the call asks again`,
    consumed: "The approval was already used for another call. Repeating the call asks again",
    approved: "The approval could not be used",
    pending: "The approval could not be used",
  };
  const reason = `${reasons[approval.status]}. The call was not run.`;
  return { kind: "refused", refusal: { decision: "BLOCK", rule, reason, approval: approval.id } };
}
