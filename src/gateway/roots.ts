import { homedir } from "node:os";
import { isAbsolute, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { isObject } from "../frame/parse.js";
import { realPath } from "../real-path.js";

/** True where one of the two folders contains the other, or they are the same. */
export function reaches(root: string, path: string): boolean {
  return contains(root, path) || contains(path, root);
}

function contains(folder: string, path: string): boolean {
  const way = relative(realPath(folder), realPath(path));
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way));
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
    if (!isObject(root) || typeof root.uri !== "string") continue;
    const folder = folderOf(root.uri);
    if (folder === undefined) continue;
    if (folder === null) return { root: root.uri, path: "an unreadable place" };
    const path = protectedPaths.find((candidate) => reaches(folder, candidate));
    if (path !== undefined) return { root: root.uri, path };
  }
  return undefined;
}

/** Null where it cannot be read, undefined where it is no place on this machine. */
function folderOf(uri: string): string | null | undefined {
  const text = uri.trim();
  if (/^file:/i.test(text)) {
    try {
      return fileURLToPath(text);
    } catch {
      return null;
    }
  }
  if (/^[a-z][a-z0-9+.-]+:/i.test(text)) return undefined;
  // Not what the specification asks for, but servers take it: a plain path, with `~` for the home folder.
  return /^~($|[/\\])/.test(text) ? join(homedir(), text.slice(1)) : text;
}
