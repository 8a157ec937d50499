import { createHmac, hash } from "node:crypto";
import type { Intent } from "../../client/backend.js";
import { canonicalBytes, canonicalText } from "../../frame/canonical.js";

/** What an approval binds (invariant 3). */
export type Bound = Pick<Intent, "agent" | "server" | "tool" | "definition" | "arguments" | "stage">;

const BLOCK = 64;
const SCRATCH = 16_384;

/**
 * HMAC-SHA256 (hex) under the backend's key over what a call is. A plain hash of a short argument could be guessed by
 * whoever reads the ledger.
 *
 * The two hashes of RFC 2104 are written out: `createHmac` costs 3 to 19 µs a call depending on the Node release, this
 * 2.5 µs.
 */
export class Digester {
  private readonly inner = Buffer.alloc(SCRATCH, 0x36);
  private readonly outer = Buffer.alloc(BLOCK + 32, 0x5c);

  /** @param key at most 64 bytes, the block of SHA-256 */
  constructor(private readonly key: Uint8Array) {
    if (key.length > BLOCK) throw new RangeError("the key is longer than a block");
    for (const [index, byte] of key.entries()) {
      this.inner[index] = byte ^ 0x36;
      this.outer[index] = byte ^ 0x5c;
    }
  }

  /** @throws where the arguments are not JSON */
  digest(call: Bound): string {
    // By name: what else the intent holds may be a getter, which would parse the arguments.
    const { agent, server, tool, definition, arguments: written, stage } = call;
    if (written.length < SCRATCH / 4) return this.hmac(boundText(call));
    return createHmac("sha256", this.key)
      .update(boundText({ agent, server, tool, definition, arguments: "", ...(stage && { stage }) }))
      .update(canonicalBytes(Buffer.from(written, "utf8")))
      .digest("hex");
  }

  private hmac(text: string): string {
    if (text.length * 3 > SCRATCH - BLOCK) return createHmac("sha256", this.key).update(text).digest("hex");
    const length = this.inner.write(text, BLOCK);
    this.outer.set(hash("sha256", this.inner.subarray(0, BLOCK + length), "buffer"), BLOCK);
    return hash("sha256", this.outer);
  }
}

/**
 * One text for one call, and no other: a JSON array (which holds no line feed), a line feed, the canonical arguments.
 * Arguments that were left out are not the same as `{}`, and an answer is never the same as a call.
 */
export function boundText({ agent, server, tool, definition, arguments: written, stage }: Bound): string {
  const names = JSON.stringify([`aegis ${stage ?? "call"} 1`, agent, server, tool, definition]);
  return `${names}\n${written === "" ? "" : canonicalText(written)}`;
}
