import type { FastifyReply, FastifyRequest } from "fastify";
import { HttpError } from "./errors.js";

/**
 * 405 where the path exists with other methods, else 404: `{"detail": "Not Found"}`.
 *
 * @param routes method → its route patterns; complete once the server is ready
 */
export function answerNotFound(
  routes: ReadonlyMap<string, ReadonlySet<string>>,
): (request: FastifyRequest, reply: FastifyReply) => never {
  const forms = new Map<string, RegExp>();
  const matches = (pattern: string, path: string): boolean => {
    const form = forms.get(pattern) ?? formOf(pattern);
    forms.set(pattern, form);
    return form.test(path);
  };
  return (request) => {
    const path = request.url.replace(/[?#].*$/s, "");
    const allowed = [...routes]
      .filter(([, patterns]) => [...patterns].some((pattern) => matches(pattern, path)))
      .map(([method]) => method);
    // With its own method: a file that is not there, at the route of all files.
    if (allowed.length === 0 || allowed.includes(request.method)) throw new HttpError(404, "Not Found");
    throw new HttpError(405, "Method Not Allowed", { allow: allowed.toSorted().join(", ") });
  };
}

function formOf(pattern: string): RegExp {
  const segments = pattern.split("/").map((segment) => {
    if (segment === "*") return ".*";
    return segment.startsWith(":") ? "[^/]+" : segment.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  });
  return new RegExp(`^${segments.join("/")}$`);
}
