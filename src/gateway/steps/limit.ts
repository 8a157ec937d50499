import { failedClosed } from "../call.js";
import type { Step } from "../pipeline.js";
import type { Services } from "../services.js";

/** Held calls included: each costs memory and a person's attention (threats R5, A22). */
const OPEN_CALLS_PER_AGENT = 10_000;

/** Refuses what would let one agent fill the gateway. */
export function limit({ backend }: Services): Step {
  const open = new Map<string, number>();
  return async (call, next) => {
    const { agent, principal, server, action } = call.intent;
    const count = open.get(agent) ?? 0;
    if (count >= OPEN_CALLS_PER_AGENT) {
      const reason = `${agent} has ${count} calls open, which is the limit; the call was not run`;
      await backend.note({ kind: "refused", agent, principal, server, action, reason });
      return failedClosed(`${reason}. Wait for some of them to end.`);
    }
    open.set(agent, count + 1);
    try {
      return await next();
    } finally {
      const left = (open.get(agent) ?? 1) - 1;
      if (left === 0) open.delete(agent);
      else open.set(agent, left);
    }
  };
}
