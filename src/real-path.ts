import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/**
 * The path with every symbolic link resolved, also where its last parts do not exist yet: a link to a place that is made
 * later leads there all the same. The letters' case is the disk's, where case does not count.
 */
export function realPath(path: string): string {
  const full = resolve(path);
  try {
    return realpathSync.native(full);
  } catch {
    return dirname(full) === full ? full : join(realPath(dirname(full)), basename(full));
  }
}
