import { wrapConfig } from "../config-wrap.js";
import type { CommonOptions, Context } from "./context.js";
import { serve } from "./serve.js";

interface Options extends CommonOptions {
  readonly agent?: string;
  readonly server?: string;
  readonly policies?: string;
  readonly allowHome?: boolean;
}

/** `aegis wrap -- COMMAND [ARG…]`: exits with the code of what it wraps. */
export async function run(
  context: Context,
  options: Options,
  [command = "", ...args]: readonly string[],
): Promise<number> {
  const server = options.server === undefined ? {} : { server: options.server };
  const config = wrapConfig(command, args, { ...server, env: context.env });
  return serve(context, { config, naming: "bare", http: null, flags: options });
}
