import type { FastifyRequest } from "fastify";
import { nameProblem } from "../../../names.js";
import { actionProblem } from "../../sdk/action.js";
import type { Service } from "../../service.js";
import { HttpError } from "../errors.js";

/**
 * Names in paths. The original SDK writes them into the path as they are: a slash, or a question mark, of a name then
 * looks like one of the path, and the question would be answered for another agent (threat Z20). So these routes take
 * everything behind their prefix for names.
 */
const oneName = ["/sdk/agent-status/", "/sdk/policies/"] as const;
const twoNames = ["/sdk/policy/", "/sdk/find-approval/"] as const;

export type OneName = (typeof oneName)[number];
export type TwoNames = (typeof twoNames)[number];

/** Spells a URL so that the router finds the route whose names hold slashes and question marks. Never throws. */
export function spellNames(url: string): string {
  for (const prefix of oneName) if (url.startsWith(prefix)) return prefix + closed(url.slice(prefix.length));
  for (const prefix of twoNames) {
    if (!url.startsWith(prefix)) continue;
    const rest = url.slice(prefix.length);
    const last = rest.lastIndexOf("/");
    // Which slash is the path's, the handler finds out.
    return last < 1 ? url : `${prefix}${closed(rest.slice(0, last))}/${closed(rest.slice(last + 1))}`;
  }
  return url;
}

function closed(part: string): string {
  return escaped(part).replaceAll("/", "%2F").replaceAll("?", "%3F");
}

/** A percent sign that begins no escape stands for itself: the original SDK's client sends it so. */
function escaped(text: string): string {
  return text.replace(/%(?![0-9a-f]{2})/gi, "%25");
}

/** @throws HttpError 404 where the name was cut off by a question mark and cannot be told; 422 where it can be no name */
export async function agentIn(request: FastifyRequest, prefix: OneName, service: Service): Promise<string> {
  const rest = restOf(request, prefix);
  const name = decoded(rest);
  if (rest.includes("?") && !(await isKnown(service, name))) throw new HttpError(404, "Not Found");
  checkPart("agent_name", name, nameProblem(name));
  return name;
}

/**
 * The agent and the action. Where slashes or a question mark were not encoded, it is the token's agent, or the only one
 * that is known.
 *
 * @throws HttpError 404 where they cannot be told apart; 422 where they can be no names
 */
export async function agentAndActionIn(
  request: FastifyRequest,
  prefix: TwoNames,
  service: Service,
): Promise<{ readonly agent: string; readonly action: string }> {
  const rest = restOf(request, prefix);
  const parts = rest.split("/");
  const splits = parts.slice(1).flatMap((_, index) => {
    const action = parts.slice(index + 1).join("/");
    // Behind a question mark that is not the agent's there may be anything.
    if (action.includes("?")) return [];
    return [{ agent: decoded(parts.slice(0, index + 1).join("/")), action: decoded(action) }];
  });
  const [first] = splits;
  const plain = parts.length === 2 && !rest.includes("?");
  const own = request.principal.agent;
  const found =
    plain && first !== undefined
      ? [first]
      : own === null
        ? await knownOf(service, splits)
        : splits.filter(({ agent }) => agent === own);
  const [names] = found;
  if (names === undefined || found.length > 1) throw new HttpError(404, "Not Found");
  checkPart("agent_name", names.agent, nameProblem(names.agent));
  checkPart("action", names.action, actionProblem(names.action));
  return names;
}

/** Ways to cut a path that are tried. */
const most = 16;

async function knownOf<T extends { readonly agent: string }>(
  service: Service,
  splits: readonly T[],
): Promise<T[]> {
  if (splits.length > most) return [];
  const known = await Promise.all(splits.map(({ agent }) => isKnown(service, agent)));
  return splits.filter((_, index) => known[index]);
}

async function isKnown(service: Service, name: string): Promise<boolean> {
  return nameProblem(name) === null && (await service.agent(name)) !== null;
}

/**
 * As it came, ahead of `spellNames`.
 *
 * @throws HttpError 404 where the prefix is there in escapes only: the router reads those, and what is cut off behind it
 * would be another name
 */
function restOf(request: FastifyRequest, prefix: string): string {
  if (!request.originalUrl.startsWith(prefix)) throw new HttpError(404, "Not Found");
  return request.originalUrl.slice(prefix.length);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(escaped(text));
  } catch {
    throw new HttpError(400, "The path is not valid.");
  }
}

/** @throws HttpError 422 */
export function checkPart(place: string, name: string, problem = nameProblem(name)): void {
  if (problem === null) return;
  throw new HttpError(422, [{ loc: ["path", place], msg: `The name ${problem}.`, type: "custom" }]);
}
