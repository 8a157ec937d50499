import { createHmac, randomUUID } from "node:crypto";
import { request } from "undici";
import type { NotifyConfig } from "../../config-notify.js";
import { withoutUserinfo } from "../userinfo.js";
import { type Notice, slackBody, webhookBody } from "./notice.js";
import type { Target } from "./outlet.js";

/** Milliseconds until an answer is given up. */
const DEADLINE = 10_000;
/** Bytes of an answer that are read, so that the connection can be used again. Nothing of it counts. */
const ANSWER = 64 * 1024;

/** A receiver said no. */
export class Refused extends Error {
  /** @param again whether it may say yes later @param after milliseconds it asks us to wait */
  constructor(
    status: number,
    readonly again: boolean,
    readonly after: number,
  ) {
    super(`the receiver answered with ${status}`);
  }
}

/** A receiver of our own JSON, which knows by the signature that it is from here, and from now. */
export function webhookTarget({ url, secret }: NonNullable<NotifyConfig["webhook"]>): Target {
  return {
    name: `notify.webhook (${new URL(url).origin})`,
    lanes: 4,
    most: 1_000,
    tries: 8,
    prepare: (notice) => {
      // One who is told twice, because an answer was lost, knows it by the id.
      const delivery = randomUUID();
      const body = webhookBody(notice, delivery);
      return (signal) => post(url, body, signed(secret, body), signal);
    },
  };
}

/** Slack, or what understands its payload. */
export function slackTarget({ url }: NonNullable<NotifyConfig["slack"]>): Target {
  return {
    name: `notify.slack (${new URL(url).origin})`,
    lanes: 1,
    most: 200,
    tries: 8,
    prepare: (notice: Notice) => {
      const body = slackBody(notice);
      return (signal) => post(url, body, {}, signal);
    },
  };
}

/** `t=SECONDS,v1=HEX`: HMAC-SHA256 over the time, a dot and the body. Of every try its own: an old one is a replay. */
export function signature(secret: string, seconds: number, body: string): string {
  const v1 = createHmac("sha256", secret).update(`${seconds}.${body}`).digest("hex");
  return `t=${seconds},v1=${v1}`;
}

function signed(secret: string, body: string): () => Record<string, string> {
  return () => ({ "x-aegis-signature": signature(secret, Math.floor(Date.now() / 1000), body) });
}

/** To this address and no other: a redirect is an answer like any other that is not success (SSRF). */
async function post(
  url: string,
  body: string,
  headers: Record<string, string> | (() => Record<string, string>),
  signal: AbortSignal,
): Promise<void> {
  const { address, authorization } = withoutUserinfo(url);
  const answer = await request(address, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "user-agent": "aegis",
      ...authorization,
      ...(typeof headers === "function" ? headers() : headers),
    },
    body,
    signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE)]),
  });
  const { statusCode } = answer;
  await answer.body.dump({ limit: ANSWER }).catch(() => undefined);
  if (statusCode >= 200 && statusCode <= 299) return;
  const again = statusCode >= 500 || statusCode === 408 || statusCode === 425 || statusCode === 429;
  throw new Refused(statusCode, again, pauseOf(answer.headers["retry-after"]));
}

function pauseOf(header: string | string[] | undefined): number {
  return typeof header === "string" && /^\d{1,4}$/.test(header) ? Number(header) * 1000 : 0;
}
