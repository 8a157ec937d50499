import type { StartedThread } from "../backend/thread/threaded.js";
import { wrapConfig } from "../config-wrap.js";
import type { Command, CommonOptions } from "./context.js";
import { serve } from "./serve.js";

interface Options extends CommonOptions {
  readonly agent?: string;
  readonly server?: string;
  readonly policies?: string;
  readonly allowHome?: boolean;
}

/** `aegis wrap -- COMMAND [ARG…]`: exits with the code of what it wraps. */
export function wrap(thread: StartedThread): Command<Options> {
  return {
    async run(context, options, [command = "", ...args]) {
      const server = options.server === undefined ? {} : { server: options.server };
      const config = wrapConfig(command, args, { ...server, env: context.env });
      return serve(context, { config, naming: "bare", http: null, flags: options }, thread);
    },
  };
}
