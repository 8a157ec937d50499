import { setImmediate as turn } from "node:timers/promises";
import type { Search } from "../data/detectors.js";

/** Milliseconds of work before others have their turn. */
const SLICE = 5;

/**
 * Does long work a little at a time: other calls do not wait for it.
 *
 * @param stopped asked between two pieces; where it says so, the rest is not done
 * @returns null where it was stopped
 */
export async function inSlices<T>(search: Search<T>, stopped: () => boolean): Promise<T | null> {
  let until = performance.now() + SLICE;
  for (;;) {
    const step = search.next();
    if (step.done === true) return step.value;
    if (performance.now() < until) continue;
    await turn();
    if (stopped()) return null;
    until = performance.now() + SLICE;
  }
}
