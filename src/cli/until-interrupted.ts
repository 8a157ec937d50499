import { setTimeout as sleep } from "node:timers/promises";

/** Milliseconds between two looks: soon enough for a person who watches, and no burden on the store. */
const interval = 200;

/** Looks again and again until SIGINT or SIGTERM, which end it without an error; a failed look ends it with one. */
export async function untilInterrupted(look: () => Promise<void>): Promise<void> {
  const interrupted = new AbortController();
  const end = (): void => interrupted.abort();
  process.once("SIGINT", end).once("SIGTERM", end);
  try {
    while (!interrupted.signal.aborted) {
      await look();
      await sleep(interval, undefined, { signal: interrupted.signal }).catch(() => undefined);
    }
  } finally {
    process.off("SIGINT", end).off("SIGTERM", end);
  }
}
