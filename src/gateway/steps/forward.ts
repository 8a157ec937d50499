import { AegisError } from "../../errors.js";
import { type Call, type CallResult, refusedBy } from "../call.js";
import type { Step } from "../pipeline.js";
import type { Reply } from "../servers/open-requests.js";
import { NotSent } from "../servers/transport.js";
import type { Services } from "../services.js";
import { accept } from "./authorize.js";

/** Thrown by the guard: the lease ran out before the first byte. Nothing was sent, so asking again is safe. */
class LeaseExpired extends Error {}
/** Thrown by the guard: the call was withdrawn, or its agent killed, before the first byte. */
class Aborted extends Error {}

const RENEWALS = 3;

/** Sends the call and waits for its answer. The last step: it ignores `next`. */
export function forward({ backend, killSwitch }: Services): Step {
  return async (call) => {
    const { request, link, intent } = call;
    try {
      const queued = link.slots.enter();
      if (queued !== undefined && !(await turnOf(call, queued))) throw new Aborted();
      try {
        for (let renewals = 0; ; renewals++) {
          try {
            return resultOf(call, await send(call));
          } catch (thrown) {
            if (!(thrown instanceof LeaseExpired) || renewals === RENEWALS) throw thrown;
            const verdict = await backend.release(intent, null);
            accept(call, verdict);
            if (verdict.decision !== "ALLOW") return refusedBy(verdict);
          }
        }
      } finally {
        request.onAbort(null);
        link.slots.leave();
      }
    } catch (thrown) {
      if (thrown instanceof Aborted || (thrown instanceof NotSent && request.aborted !== null)) {
        return request.aborted === "killed" ? killed(false) : { kind: "cancelled" };
      }
      if (thrown instanceof NotSent) return { kind: "not_forwarded", reason: thrown.message };
      if (thrown instanceof LeaseExpired) {
        return { kind: "not_forwarded", reason: "the gateway is too busy to send calls in time" };
      }
      if (thrown instanceof AegisError && thrown.code === "server_unavailable") {
        return { kind: "not_forwarded", reason: thrown.message };
      }
      throw thrown;
    }
  };

  async function send(call: Call): Promise<Reply> {
    const { request, link, outgoing } = call;
    if (!link.isUp) await link.ready();
    const answered = link.forward(outgoing, () => {
      // The critical section: between these lines and the write nothing else runs.
      if (request.aborted !== null) throw new Aborted();
      if (killSwitch.isKilled(call.intent.agent)) {
        request.aborted ??= "killed";
        throw new Aborted();
      }
      if (call.leaseUntil === null || performance.now() > call.leaseUntil) throw new LeaseExpired();
    });
    request.wire = outgoing.wire;
    request.onAbort((cause) => {
      if (outgoing.wire !== null)
        link.withdraw(outgoing.wire, cause === "killed" ? "the agent was stopped" : cause);
    });
    return answered;
  }
}

/** Waits for a slot; false where the call was withdrawn meanwhile, and the slot has been passed on. */
function turnOf({ request, link }: Call, queued: Promise<void>): Promise<boolean> {
  return new Promise((resolve) => {
    let left = false;
    request.onAbort(() => {
      left = true;
      resolve(false);
    });
    queued.then(
      () => {
        if (left) link.slots.leave();
        else resolve(true);
      },
      () => resolve(false),
    );
  });
}

function resultOf(call: Call, reply: Reply): CallResult {
  switch (reply.kind) {
    case "answer":
      return { kind: "answered", text: reply.text, frame: reply.frame };
    case "lost":
      return { kind: "unknown", reason: reply.reason };
    case "withdrawn":
      if (call.request.aborted === "killed") return killed(true);
      if (call.request.aborted === "cancelled") return { kind: "cancelled" };
      return {
        kind: "unknown",
        reason: call.request.aborted === "closed" ? "the client went away" : reply.reason,
      };
  }
}

function killed(inFlight: boolean): CallResult {
  const reason = inFlight
    ? "The agent was stopped while this call ran; whether it took effect is unknown."
    : "The agent was stopped before this call was sent; it was not run.";
  return { kind: "refused", refusal: { decision: "KILLED", rule: null, reason, inFlight } };
}
