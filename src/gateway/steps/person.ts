import type { ApprovalStatus, Waiting } from "../../client/backend.js";
import type { Call } from "../call.js";
import type { AbortCause } from "../request.js";
import type { Services } from "../services.js";

/** A client that sent a progress token hears every 5 s that its call is alive; most reset their time-out on it. */
const PROGRESS_EVERY = 5000;

/** How waiting for a person ended: with a decision, or without one. */
export type Ended = Exclude<ApprovalStatus, "pending"> | "timeout" | AbortCause;

/**
 * Waits until a person has decided, the request has ended, or `hold.wait` is over; at the desk, with progress. Of the
 * approval nothing changes: who leaves without a decision detaches.
 */
export function decided({ desk, config }: Services, call: Call, approval: Waiting): Promise<Ended> {
  return new Promise((resolve) => {
    const finish = (ended: Ended): void => {
      clearTimeout(timer);
      clearInterval(progress);
      leave();
      call.request.onAbort(null);
      resolve(ended);
    };
    const timer = setTimeout(finish, config.hold.wait, "timeout");
    // Only for who listens: of ten thousand held calls each timer costs memory, and a turn every 5 s.
    const progress =
      call.request.progressToken === null
        ? undefined
        : setInterval(() => reportProgress(call, approval.id), PROGRESS_EVERY);
    const leave = desk.wait(approval.id, (status) => {
      if (status !== "pending") finish(status);
    });
    reportProgress(call, approval.id);
    if (approval.status !== "pending") finish(approval.status);
    call.request.onAbort(finish);
  });
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
