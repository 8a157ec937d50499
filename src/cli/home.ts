import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** AEGIS_HOME, absolute: the variable, else `.aegis` in the user's own folder. */
export function homeOf(env: NodeJS.ProcessEnv): string {
  const set = env.AEGIS_HOME;
  return set ? resolve(set) : join(homedir(), ".aegis");
}

/** Where policies are looked for unless a flag or the configuration names a folder. */
export function defaultPolicies(home: string): string {
  return join(home, "policies");
}
