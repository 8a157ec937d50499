import { realpathSync } from "node:fs";
import { isAbsolute, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isObject } from "../frame/parse.js";

/** True where one of the two folders contains the other, or they are the same. */
export function reaches(root: string, path: string): boolean {
  return contains(root, path) || contains(path, root);
}

function contains(folder: string, path: string): boolean {
  const way = relative(real(folder), real(path));
  return way === "" || (!way.startsWith("..") && !isAbsolute(way));
}

/** Where a path leads once its links are followed; as it is where it does not exist. */
function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}

/**
 * The first root of a client's `roots/list` answer that leads to a protected path. A file server takes its roots as
 * what it may write to, and so as a way to the policies that govern it (invariant 5).
 */
export function reachedByRoots(
  result: unknown,
  protectedPaths: readonly string[],
): { root: string; path: string } | undefined {
  if (!isObject(result) || !Array.isArray(result.roots)) return undefined;
  for (const root of result.roots as unknown[]) {
    if (!isObject(root) || typeof root.uri !== "string" || !/^file:/i.test(root.uri)) continue;
    let folder: string;
    try {
      folder = fileURLToPath(root.uri);
    } catch {
      return { root: root.uri, path: "an unreadable place" };
    }
    const path = protectedPaths.find((candidate) => reaches(folder, candidate));
    if (path !== undefined) return { root: root.uri, path };
  }
  return undefined;
}
