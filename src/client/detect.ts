import { z } from "zod";
import { AegisError } from "../errors.js";
import { jsonOf, statusText } from "./http-api.js";
import { type Answer, DEADLINE, NoAnswer, type Requests } from "./requests.js";
import { productWire } from "./wire/product.js";

/** What answers at an address. */
export type Found =
  | { readonly kind: "aegis"; readonly version: string }
  /** The contract of the original Aegis, and nothing newer. */
  | { readonly kind: "original" };

/** Its own word for an agent it has never heard of, or any other. */
const originalAnswer = z.strictObject({ status: z.string().nullable() });

/** Statuses of proxies, for what is behind them. */
const away: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/**
 * Asks what answers there, within the deadline. Nothing is changed by it.
 *
 * @throws AegisError `backend_unavailable` where nothing does now, `not_permitted`, `backend_unsupported` where it is
 *   something else
 */
export async function detect(requests: Requests): Promise<Found> {
  const until = performance.now() + DEADLINE;
  const { shown } = requests.address;
  const ask = async (path: string): Promise<Answer> => {
    const answer = await requests.ask({
      method: "GET",
      path,
      deadline: until - performance.now(),
      longest: 1024 * 1024,
    });
    if (away.has(answer.status))
      throw new NoAnswer(`The backend at ${shown} is not there now: HTTP ${answer.status}.`, true, false);
    return answer;
  };
  const ours = await ask("/v1");
  const product = ours.status === 200 ? productWire.safeParse(jsonOf(ours)) : null;
  if (product?.success) return { kind: "aegis", version: product.data.version };
  const original = await ask("/sdk/agent-status/aegis");
  if (original.status === 200 && originalAnswer.safeParse(jsonOf(original)).success)
    return { kind: "original" };
  if (ours.status === 401 || ours.status === 403 || original.status === 401 || original.status === 403) {
    throw new AegisError(
      "not_permitted",
      `What answers at ${shown} does not let us in (HTTP ${original.status}).`,
      {
        hint: "Put user and password of its proxy into the URL, or a token into AEGIS_TOKEN.",
      },
    );
  }
  throw new AegisError(
    "backend_unsupported",
    `What answers at ${shown} is no Aegis backend: asked for /v1, ${described(ours)}; asked for ` +
      `/sdk/agent-status, ${described(original)}.`,
    { hint: "Compare the address with the one `aegis backend` prints when it starts." },
  );
}

function described(answer: Answer): string {
  return answer.status === 200
    ? `it sends ${answer.type || "something without a type"} of another kind`
    : statusText(answer.status);
}
