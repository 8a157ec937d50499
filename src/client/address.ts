import { AegisError } from "../errors.js";
import { isLoopback } from "../listen.js";
import { visible } from "../visible.js";

/** Where a backend is, and what proves to it who asks. */
export interface BackendAddress {
  /** `https://aegis.example:8443`. */
  readonly origin: string;
  /** What stands before every path: empty, or such as `/aegis` behind a proxy. */
  readonly prefix: string;
  /** Value of the Authorization header; null without a credential. Never shown, never logged. */
  readonly authorization: string | null;
  /** What to do where the backend does not take the credential: it names where that came from. */
  readonly remedy: string;
  /** For people and logs: the URL without its secret. */
  readonly shown: string;
  /** The credential would cross a network in clear text. */
  readonly clearText: boolean;
}

/**
 * Reads a backend's URL. A secret in its userinfo becomes the Authorization header: undici drops userinfo, and a URL is
 * printed sooner or later.
 *
 * @param where what named it, for the error: `--backend`, `AEGIS_BACKEND_URL`, a file
 * @param token used where the URL holds no secret
 * @throws AegisError `usage`, whose message holds neither the URL nor the token
 */
export function readAddress(text: string, where: string, token: string | null): BackendAddress {
  if (!URL.canParse(text)) {
    throw new AegisError("usage", `${where} holds no URL.`, {
      hint: "Write it as http://127.0.0.1:8000 or https://aegis.example.",
    });
  }
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new AegisError("usage", `${where} must begin with http:// or https://.`, {
      hint: "Write it as http://127.0.0.1:8000 or https://aegis.example.",
    });
  }
  if (url.search !== "" || url.hash !== "") {
    throw new AegisError("usage", `${where} must end with the path: it holds a query or a fragment.`, {
      hint: "Leave out what begins with ? or #; a token belongs into AEGIS_TOKEN.",
    });
  }
  const own = userinfo(url, where);
  const authorization = own ?? (token === null ? null : bearer(token, "The token in AEGIS_TOKEN"));
  const prefix = url.pathname.replace(/\/+$/, "");
  return {
    origin: url.origin,
    prefix,
    authorization,
    remedy: own === null ? SET_TOKEN : `It stands in the URL of ${where}. Change it there.`,
    shown: visible(url.origin + prefix),
    clearText: authorization !== null && url.protocol === "http:" && !isLoopback(url.hostname),
  };
}

/** Also where there is none. */
const SET_TOKEN = "Set AEGIS_TOKEN to a token that an admin of that backend makes: aegis token create";

/** @throws AegisError `usage` where the token could not stand in a header; the message does not show it */
export function bearer(token: string, what: string): string {
  if (/^[!-~]{1,8192}$/.test(token)) return `Bearer ${token}`;
  throw new AegisError("usage", `${what} holds a space, or a character that no token has.`, {
    hint: "Copy it again, without quotation marks and line ends.",
  });
}

/** RFC 7617 in UTF-8 for `user:secret@`; a secret alone, `secret@`, is a bearer token. */
function userinfo({ username, password }: URL, where: string): string | null {
  if (username === "" && password === "") return null;
  try {
    const user = decodeURIComponent(username);
    if (password === "") return bearer(user, `The token in ${where}`);
    const pair = `${user}:${decodeURIComponent(password)}`;
    return `Basic ${Buffer.from(pair, "utf8").toString("base64")}`;
  } catch (thrown) {
    if (thrown instanceof AegisError) throw thrown;
    throw new AegisError("usage", `The secret in ${where} is not percent-encoded as it must be.`, {
      hint: "Write % as %25, or put the token into AEGIS_TOKEN.",
    });
  }
}
