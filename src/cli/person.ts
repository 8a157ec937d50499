import { userInfo } from "node:os";
import type { Principal } from "../client/backend.js";

/**
 * Who runs the command. On the embedded backend the operating system has checked it already: whoever can open
 * AEGIS_HOME is its owner.
 */
export function person(): Principal {
  return { name: `os:${userName()}`, role: "admin", agent: null, groups: [], token: null };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user id without an entry in the password database, as containers have them.
    return String(process.getuid?.() ?? "unknown");
  }
}
