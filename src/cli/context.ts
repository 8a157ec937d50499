import type { openEmbedded } from "../backend/embedded.js";
import type { Backend } from "../client/backend.js";
import { AegisError } from "../errors.js";
import { nearest } from "../suggest.js";
import { visible } from "../visible.js";
import { requireEmbedded } from "./backend-choice.js";
import { homeOf } from "./home.js";
import { Output } from "./output.js";

/** Flags that every command takes which speaks to a backend or prints. */
export interface CommonOptions {
  readonly backend?: string;
  readonly json?: boolean;
}

/** What a command works with. */
export interface Context {
  readonly env: NodeJS.ProcessEnv;
  /** AEGIS_HOME, absolute. */
  readonly home: string;
  readonly out: Output;
  /** Loads the embedded backend; `main.ts` injects it. */
  readonly embedded: () => Promise<typeof openEmbedded>;
}

/** One command: resolves with its exit code. */
export interface Command<Options extends CommonOptions> {
  run(context: Context, options: Options, operands: readonly string[]): Promise<number>;
}

export function createContext(
  options: CommonOptions,
  embedded: Context["embedded"],
  env: NodeJS.ProcessEnv = process.env,
): Context {
  return { env, home: homeOf(env), out: new Output(options.json === true), embedded };
}

/** Opens the backend that was asked for, for one command, and closes it whatever happens. */
export async function withBackend<Result>(
  context: Context,
  options: CommonOptions,
  use: (backend: Backend) => Promise<Result>,
): Promise<Result> {
  await requireEmbedded(options.backend, context.env, context.home);
  const [open, { configDefaults }, { policySet }, { createLogger }] = await Promise.all([
    context.embedded(),
    import("../config-file.js"),
    import("../policy/load.js"),
    import("../log.js"),
  ]);
  const backend = await open({
    home: context.home,
    policies: policySet([]),
    holdExpires: configDefaults.hold.expires,
    log: createLogger(),
  });
  try {
    return await use(backend);
  } finally {
    await backend.close();
  }
}

/** @throws AegisError unknown_agent */
export async function requireAgent(backend: Backend, name: string): Promise<void> {
  const names = (await backend.agents()).map((agent) => agent.name);
  if (names.includes(name)) return;
  const meant = nearest(name, names);
  throw new AegisError("unknown_agent", `No agent "${visible(name)}" has ever been seen by this backend.`, {
    hint: meant === null ? "List them: aegis status" : `Did you mean ${visible(meant)}?`,
  });
}
