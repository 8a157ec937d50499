import type { Approval, ApprovalStatus, Waiting } from "../../client/backend.js";
import { type Call, type CallResult, refusedBy } from "../call.js";
import type { Step } from "../pipeline.js";
import type { AbortCause } from "../request.js";
import type { Services } from "../services.js";
import { accept } from "./authorize.js";

/** A client that sent a progress token hears every 5 s that its call is alive; most reset their time-out on it. */
const PROGRESS_EVERY = 5000;

type Ended = Exclude<ApprovalStatus, "pending"> | "timeout" | AbortCause;

/**
 * Suspends a call on REVIEW until a person has decided, at most `hold.wait`. Leaving does not touch the approval: it
 * waits for the repeat of the call until it expires (`policy.md`, “A waiter is not the approval”).
 */
export function hold({ backend, desk, config, killSwitch, howToAllow }: Services): Step {
  return async (call, next) => {
    if (call.verdict?.decision !== "REVIEW") return next();
    const { approval, rule } = call.verdict;
    if (approval === undefined) throw new Error("a REVIEW without an approval");

    try {
      return await held(call, approval, rule, next);
    } catch (thrown) {
      // A waiter that stayed behind would keep the repeat of the call from finding its approval.
      await backend.detachWaiter(approval.id, call.intent.call);
      throw thrown;
    }
  };

  async function held(
    call: Call,
    approval: Waiting,
    rule: string | null,
    next: () => Promise<CallResult>,
  ): Promise<CallResult> {
    const ended = await wait(call, approval);
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
            reason: pendingText(call, approval.id),
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

  function wait(call: Call, approval: Waiting): Promise<Ended> {
    return new Promise((resolve) => {
      const finish = (ended: Ended): void => {
        clearTimeout(timer);
        clearInterval(progress);
        leave();
        call.request.onAbort(null);
        resolve(ended);
      };
      const timer = setTimeout(finish, config.hold.wait, "timeout");
      const progress = setInterval(() => reportProgress(call, approval.id), PROGRESS_EVERY);
      const leave = desk.wait(approval.id, (status) => {
        if (status !== "pending") finish(status);
      });
      reportProgress(call, approval.id);
      if (approval.status !== "pending") finish(approval.status);
      call.request.onAbort(finish);
    });
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

  function pendingText(call: Call, id: number): string {
    const allow = howToAllow(call.intent.agent, call.intent.action);
    return (
      `${call.intent.action} needs a person's approval and nobody has decided yet (approval ${id}). ` +
      `A person decides with \`aegis approve ${id}\` or \`aegis deny ${id}\`. ` +
      "Repeat exactly the same call to pick the decision up." +
      (allow === null ? "" : ` ${allow}`)
    );
  }
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

/** The smallest steps that still increase: the server's own values, which come later, stay larger. */
function reportProgress(call: Call, approval: number): void {
  const { request } = call;
  if (request.progressToken === null) return;
  const progress = request.progressed === null ? 0 : request.progressed + 0.000001;
  request.progressed = progress;
  request.exchange.send(
    `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":${request.progressToken},` +
      `"progress":${progress === 0 ? "0" : progress.toFixed(6)},"message":"Waiting for approval ${approval}"}}`,
  );
}
