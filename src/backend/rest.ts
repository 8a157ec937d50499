import { setTimeout as sleep } from "node:timers/promises";

/** Waits before another try: at most until the end is near, and no reason to keep the process alive. */
export async function rest(milliseconds: number, ending: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal: ending, ref: false }).catch(() => {});
}
