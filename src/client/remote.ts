import type { Logger } from "../log.js";
import type { BackendAddress } from "./address.js";
import type { Backend, Principal } from "./backend.js";
import { detect } from "./detect.js";
import { HttpBackend } from "./http.js";
import { OriginalBackend } from "./original.js";
import { Requests } from "./requests.js";

/** A backend somewhere else, found by asking. */
export type Remote =
  | {
      readonly kind: "aegis";
      readonly backend: Backend;
      readonly version: string;
      /** Whom the credential stands for. */
      readonly principal: Principal;
    }
  /** Nobody proves who he is there. */
  | { readonly kind: "original"; readonly backend: Backend; readonly principal: null };

export interface RemoteOptions {
  /** Milliseconds until an approval expires that an original backend keeps for us. */
  readonly holdExpires: number;
  readonly log: Logger;
}

/** @throws AegisError as `detect`, and `not_permitted` where the token is not valid */
export async function openRemote(address: BackendAddress, options: RemoteOptions): Promise<Remote> {
  const { holdExpires, log } = options;
  const requests = new Requests(address);
  try {
    const found = await detect(requests);
    if (found.kind === "original") {
      const backend = new OriginalBackend(requests, holdExpires, log);
      return { kind: "original", backend, principal: null };
    }
    const { version } = found;
    const backend = await HttpBackend.open(requests, version, log);
    return { kind: "aegis", backend, version, principal: backend.principal };
  } catch (thrown) {
    await requests.close();
    throw thrown;
  }
}
