import type { StartedThread } from "../backend/thread/threaded.js";
import { loadConfig } from "../config-file.js";
import { AegisError } from "../errors.js";
import { parseListen } from "../listen.js";
import { visible } from "../visible.js";
import type { Command, CommonOptions } from "./context.js";
import { serve } from "./serve.js";

interface Options extends CommonOptions {
  readonly config: string;
  readonly http?: string;
  readonly agent?: string;
  readonly policies?: string;
  readonly allowHome?: boolean;
}

/** `aegis gateway --config FILE`: over HTTP where the flag or the configuration says so, else over stdio. */
export function gateway(thread: StartedThread): Command<Options> {
  return {
    async run(context, options) {
      const flag = options.http === undefined ? null : parseListen(options.http);
      if (options.http !== undefined && flag === null) {
        throw new AegisError("usage", `--http ${visible(options.http)} is not HOST:PORT.`, {
          hint: "Write --http 127.0.0.1:8100.",
        });
      }
      const config = await loadConfig(options.config, context.env, {
        warn: (sentence) => context.out.warn(sentence),
        ...(flag === null ? {} : { port: flag.port }),
      });
      return serve(
        context,
        { config, naming: "prefixed", http: flag ?? config.http, flags: options },
        thread,
      );
    },
  };
}
