import pino from "pino";

/** The part of a pino logger that is used here. */
export type Logger = pino.Logger;

/**
 * A logger to stderr, never stdout: on stdio stdout is the protocol (invariant 8). Written at once, so that what is
 * said last before a crash is not lost.
 *
 * @param level one of pino's levels; `AEGIS_LOG_LEVEL` if left out, else `warn`
 */
export function createLogger(level: string = process.env.AEGIS_LOG_LEVEL ?? "warn"): Logger {
  const known = level === "silent" || Object.hasOwn(pino.levels.values, level);
  return pino(
    { level: known ? level : "warn", base: { pid: process.pid } },
    pino.destination({ fd: 2, sync: true }),
  );
}
