/**
 * The order in which things happen to a `tools/call`. Read this first.
 *
 * By the time a call comes here its frame was checked (`frame/scan.ts`), its client is known (`front/`), and its tool
 * was found in the catalog (`scope.ts`). What comes out is put into a frame by `reply.ts`.
 */
import type { Call, CallResult } from "./call.js";
import type { Services } from "./services.js";
import { authorize } from "./steps/authorize.js";
import { forward } from "./steps/forward.js";
import { hold } from "./steps/hold.js";
import { inspect } from "./steps/inspect.js";
import { limit } from "./steps/limit.js";
import { record } from "./steps/record.js";

/** Does its part, then lets the rest happen with `next`, once, or does not. Returning is the only way on. */
export type Step = (call: Call, next: () => Promise<CallResult>) => Promise<CallResult>;

export type Pipeline = (call: Call) => Promise<CallResult>;

export function createPipeline(services: Services): Pipeline {
  return compose([
    record(services), // outermost: however the call ends, its outcome is written down, and a throw is a refusal
    limit(services), // an agent may not have more calls open than this
    authorize(services), // kill switch and policy decide; the decision is durable when this goes on
    hold(services), // REVIEW: a person decides, or the client is told to repeat the call
    inspect(services), // on the way back: what data rules find in the answer is redacted, withheld, or a person decides
    forward(services), // the first byte, under a lease that is still good; and the answer
  ]);
}

/** The first step is the outermost. A step that calls `next` twice would run a call twice: that throws. */
export function compose(steps: readonly Step[]): Pipeline {
  const dispatch = (call: Call, index: number): Promise<CallResult> => {
    const step = steps[index];
    if (step === undefined) throw new Error("the last step must not call next");
    let called = false;
    return step(call, () => {
      if (called) throw new Error("next was called twice");
      called = true;
      return dispatch(call, index + 1);
    });
  };
  return (call) => dispatch(call, 0);
}
