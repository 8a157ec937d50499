import fastifyStatic from "@fastify/static";
import type { RegisterRoutes } from "./app.js";

/** Built pages load what lies beside them and talk to the API they came with; their styles may stand inline. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
  "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const headers = {
  "content-security-policy": policy,
  // Asked for anew, and answered with 304 where nothing changed.
  "cache-control": "no-cache",
};

/**
 * The built files of a dashboard at `/`. Its browser asks for a token as a Basic password and sends it with every
 * request to this origin: an unmodified dashboard works.
 */
export function dashboardFiles(folder: string): RegisterRoutes {
  return async (app) => {
    app.addHook("onRequest", async (_request, reply) => {
      reply.headers(headers);
    });
    await app.register(fastifyStatic, {
      root: folder,
      prefix: "/",
      index: ["index.html"],
      dotfiles: "ignore",
      cacheControl: false,
    });
  };
}
