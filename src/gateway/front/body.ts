import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";

export type Body = { readonly text: string } | { readonly problem: "too_long" | "not_utf8" | "aborted" };

/** Reads a request's body. What is over the limit is passed over, up to as much again, and then not even that. */
export function readBody(request: IncomingMessage, limit: number): Promise<Body> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= limit) chunks.push(chunk);
      else {
        chunks.length = 0;
        if (size > 2 * limit) resolve({ problem: "too_long" });
      }
    });
    request.once("end", () => {
      if (size > limit) return resolve({ problem: "too_long" });
      const bytes = chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, size);
      return resolve(isUtf8(bytes) ? { text: bytes.toString("utf8") } : { problem: "not_utf8" });
    });
    const aborted = (): void => resolve({ problem: "aborted" });
    request.once("error", aborted);
    request.once("close", aborted);
  });
}
