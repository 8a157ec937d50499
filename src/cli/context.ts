import type { openBackend } from "../backend/open-backend.js";
import type { Backend, Principal } from "../client/backend.js";
import { AegisError } from "../errors.js";
import { nearest } from "../suggest.js";
import { visible } from "../visible.js";
import { chooseBackend, clearTextWarning, type RemoteChoice, withAdminToken } from "./backend-choice.js";
import { homeOf } from "./home.js";
import { Output } from "./output.js";
import { person } from "./person.js";

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
  readonly embedded: () => Promise<typeof openBackend>;
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

/** The backend a command speaks to, and as whom. */
export interface Session {
  readonly backend: Backend;
  readonly kind: "embedded" | "aegis" | "original";
  /** Who runs the command, as that backend sees it. */
  readonly by: Principal;
}

/** Opens the backend that was asked for, for one command, and closes it whatever happens. */
export async function withBackend<Result>(
  context: Context,
  options: CommonOptions,
  use: (session: Session) => Promise<Result>,
): Promise<Result> {
  const choice = await chooseBackend(options.backend, context.env, context.home);
  const session = choice === null ? await openEmbedded(context) : await openChosen(context, choice);
  try {
    return await use(session);
  } finally {
    await session.backend.close();
  }
}

async function openEmbedded(context: Context): Promise<Session> {
  const [open, { configDefaults }, { policySet }, { createLogger }] = await Promise.all([
    context.embedded(),
    import("../config-file.js"),
    import("../policy/file/load.js"),
    import("../log.js"),
  ]);
  const backend = await open({
    home: context.home,
    policies: policySet([]),
    holdExpires: configDefaults.hold.expires,
    log: createLogger(),
  });
  try {
    return { backend, kind: "embedded", by: await embeddedPerson(backend, context.env) };
  } catch (thrown) {
    await backend.close();
    throw thrown;
  }
}

/**
 * Whom AEGIS_TOKEN stands for, so that groups and quorums count on the embedded backend too; without it, the user of
 * the operating system. One that does not hold is never replaced by another identity.
 *
 * @throws AegisError not_permitted
 */
async function embeddedPerson(backend: Backend, env: NodeJS.ProcessEnv): Promise<Principal> {
  const token = env.AEGIS_TOKEN?.trim() ?? "";
  if (token === "") return person();
  const principal = await backend.authenticate(token);
  if (principal !== null) return principal;
  throw new AegisError(
    "not_permitted",
    "The token in AEGIS_TOKEN is unknown here, has expired or was revoked.",
    {
      hint: "Set AEGIS_TOKEN to one of `aegis token create`, or unset it to act as this machine's user.",
    },
  );
}

async function openChosen(context: Context, chosen: RemoteChoice): Promise<Session> {
  const choice = await withAdminToken(chosen, context.home);
  const warning = clearTextWarning(choice);
  if (warning !== null) context.out.warn(warning);
  // Not at the top: who speaks to the embedded backend loads no HTTP.
  const [{ openRemote }, { configDefaults }, { createLogger }] = await Promise.all([
    import("../client/remote.js"),
    import("../config-file.js"),
    import("../log.js"),
  ]);
  const options = { holdExpires: configDefaults.hold.expires, log: createLogger() };
  const { backend, kind, principal } = await openRemote(choice.address, options).catch((thrown: unknown) => {
    if (!(thrown instanceof AegisError)) throw thrown;
    const hint = `${thrown.hint ?? ""}\nThe address is from ${choice.where}.`.trim();
    throw new AegisError(thrown.code, thrown.message, { hint, cause: thrown });
  });
  return { backend, kind, by: principal ?? person() };
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
