/**
 * What a server started by `aegis gateway` inherits: enough to run, nothing that is ours or another server's
 * (threat D6). The list is the one MCP SDK clients use, per platform.
 */
const inherited =
  process.platform === "win32"
    ? [
        "APPDATA",
        "HOMEDRIVE",
        "HOMEPATH",
        "LOCALAPPDATA",
        "PATH",
        "PATHEXT",
        "PROCESSOR_ARCHITECTURE",
        "PROGRAMFILES",
        "SYSTEMDRIVE",
        "SYSTEMROOT",
        "TEMP",
        "USERNAME",
        "USERPROFILE",
      ]
    : ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER"];

/** The environment of a server: the allow-list, then what its configuration adds; never a variable of ours. */
export function serverEnvironment(
  own: NodeJS.ProcessEnv,
  configured: ReadonlyMap<string, string>,
): Record<string, string> {
  const entries = new Map<string, string>();
  for (const name of inherited) {
    const value = own[name];
    // An exported shell function (`() { …`) is code: it is left out.
    if (value !== undefined && !value.startsWith("()")) entries.set(name, value);
  }
  for (const [name, value] of configured) entries.set(name, value);
  return Object.fromEntries([...entries].filter(([name]) => !name.toUpperCase().startsWith("AEGIS_")));
}
