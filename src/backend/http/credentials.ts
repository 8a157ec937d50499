import type { FastifyRequest } from "fastify";
import { only } from "./hosts.js";

/** The secret a request carries: of `Bearer`, or the password of `Basic`, whose user name says nothing. */
export type Carried =
  | { readonly kind: "none" }
  | { readonly kind: "malformed"; readonly reason: string }
  | { readonly kind: "token"; readonly token: string };

/** What the Authorization header holds. Two of them are refused: a proxy may have looked at the other one. */
export function carried(request: FastifyRequest): Carried {
  if (request.headers.authorization === undefined) return { kind: "none" };
  const value = only(request, "authorization");
  if (value === null) return { kind: "malformed", reason: "the Authorization header stands there twice" };
  const [, scheme = "", rest = ""] = /^(\S+) +(\S+)$/.exec(value) ?? [];
  switch (scheme.toLowerCase()) {
    case "bearer":
      return { kind: "token", token: rest };
    case "basic": {
      const pair = Buffer.from(rest, "base64").toString("utf8");
      const colon = pair.indexOf(":");
      const token = colon < 0 ? "" : pair.slice(colon + 1);
      return token === ""
        ? { kind: "malformed", reason: "the Basic credential holds no password" }
        : { kind: "token", token };
    }
    default:
      return { kind: "malformed", reason: "the Authorization header is neither Bearer nor Basic" };
  }
}
