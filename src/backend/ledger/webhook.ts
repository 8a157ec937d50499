import { request } from "undici";
import { withoutUserinfo } from "../userinfo.js";

/** Milliseconds until an answer is given up. */
const DEADLINE = 5_000;

/**
 * Sends a checkpoint as `application/json`, exactly as it was hashed. The receiver may see one twice, and knows it by
 * its number.
 *
 * @param url what stands in its userinfo becomes the Authorization header
 * @throws where the answer is not one of success (2xx), or does not come within 5 s
 */
export async function postCheckpoint(url: string, checkpoint: string, signal: AbortSignal): Promise<void> {
  const { address, authorization } = withoutUserinfo(url);
  const { statusCode, body } = await request(address, {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization },
    body: checkpoint,
    signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE)]),
  });
  await body.dump();
  if (statusCode < 200 || statusCode > 299) throw new Error(`the webhook answered with ${statusCode}`);
}
