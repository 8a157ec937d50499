import { setTimeout as sleep } from "node:timers/promises";
import { unavailable } from "./faults.js";
import type { Store } from "./store.js";

/** Milliseconds we wait for a lock that another process holds, before we fail closed. */
export const patience = 2_000;

/** Milliseconds until the next try: jittered, so that many processes do not try in step. */
export function pause(): number {
  return 1 + Math.random() * 9;
}

/**
 * Runs `work`, again while the store is busy. The event loop runs on in between.
 *
 * @throws AegisError `backend_unavailable` after 2 s, or where the store fails; whatever else `work` throws, at once
 */
export async function patiently<T>(store: Pick<Store, "faultOf">, work: () => T | Promise<T>): Promise<T> {
  const deadline = performance.now() + patience;
  for (;;) {
    try {
      return await work();
    } catch (thrown) {
      const fault = store.faultOf(thrown);
      if (fault === "store") throw unavailable("The store could not be read", thrown);
      if (fault !== "busy") throw thrown;
      if (performance.now() >= deadline) throw locked(thrown);
    }
    // The promise form of setTimeout keeps the process alive: somebody waits for this.
    await sleep(pause());
  }
}

export function locked(cause: unknown): Error {
  return unavailable(`Another process has held the lock of the store for ${patience / 1000} s`, cause);
}
